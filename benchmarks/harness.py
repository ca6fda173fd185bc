"""The server's half in one process: keys, one request's scope, an application."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.events import Event, Shape, Stream
from benchmarks.tokens import groups, vocabulary
from stainedglass_output_protection.protocol.constants import (
    DEFAULT_CLIENT_KEY_HEADER,
    DEFAULT_SERVER_KEY_HEADER,
    OPAQUE_MEDIA_TYPE,
)
from stainedglass_output_protection.protocol.encoding import encode_base64
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.routes import TABLE
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.middleware import (
    ProtectionMiddleware,
)
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from stainedglass_output_protection.server.protected_response import ProtectedResponse
from stainedglass_output_protection.server.response_keys import output_keys

Message = Any
App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]
SINGLE = range(1, 2)
SEVERAL = range(1, 9)

_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8")]


def fresh_client_key() -> bytes:
    """Return the public half of a fresh pair."""
    return X25519PrivateKey.generate().public_key().public_bytes_raw()


@cache
def key_ring() -> KeyRing:
    """Return the one key ring, with a key that lasts."""
    ring = KeyRing(IdentityKey.generate(), OwnEpochs(EpochTimes(12 * 3600 * 1000)))
    ring.tick(unix_ms())
    return ring


def one_response(
    shape: Shape,
    count: int,
    *,
    per_event: range = SINGLE,
    seed: int = 0,
    as_written: bool = True,
) -> list[Event]:
    """Return a stream of ``count`` events that carry tokens, and what is around them.

    The tokens are a passage of the text, or tokens from all over it in random order.
    """
    source = random.Random(seed)
    text = vocabulary().tokens
    start = source.randrange(len(text))
    needed = count * per_event.stop
    if as_written:
        tokens = [text[(start + step) % len(text)] for step in range(needed)]
    else:
        tokens = source.choices(text, k=needed)
    cut = list(groups(tokens, per_event, source))[:count]
    return list(Stream(shape, source).events(cut))


def protected_response(shape: Shape) -> ProtectedResponse:
    """Return what protects one response, as the middleware makes it."""
    return ProtectedResponse(
        keys=output_keys(key_ring().current(unix_ms()), fresh_client_key()),
        route=TABLE.row(shape.path),
        server_key_header=DEFAULT_SERVER_KEY_HEADER,
        status=200,
        headers=list(_HEADERS),
        wants_opaque=shape.is_opaque,
    )


def protection(app: App) -> App:
    """Return the application within the middleware."""
    return ProtectionMiddleware(
        app, Options(has_store=False), ring_of=lambda scope: key_ring()
    )


def application(events: list[bytes]) -> App:
    """Return an application that sends ``events`` with nothing in between."""
    start = {"type": "http.response.start", "status": 200, "headers": _HEADERS}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def scope_of(
    path: str, client_public_key: bytes, *, is_opaque: bool = False
) -> dict[str, Any]:
    """Return the scope of one request."""
    key = encode_base64(client_public_key)
    accept = OPAQUE_MEDIA_TYPE if is_opaque else "*/*"
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost:8000"),
            (b"content-type", b"application/json"),
            (b"accept", accept.encode("ascii")),
            (DEFAULT_CLIENT_KEY_HEADER.encode("ascii"), key),
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
    }


def receiving(content: bytes = b"{}") -> Callable[[], Coroutine[Any, Any, Message]]:
    """Return the ``receive`` of one request, whose client has sent it and waits."""
    body = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Message:
        if not body:
            await asyncio.Event().wait()
        return body.pop()

    return receive


async def discard(message: Message) -> None:
    """Send nowhere."""
