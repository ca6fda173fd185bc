"""Drives an ASGI application by hand and opens what it sends.

Unlike an HTTP client's in-process transport it records each message as it is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from stainedglass_output_protection.protocol.constants import (
    CONTAINER_FIELDS,
    CONTAINER_OPAQUE,
    OPAQUE_MEDIA_TYPE,
    PROFILE_OUTPUT,
    PROFILE_SEALED,
    SUITE_X25519,
)
from stainedglass_output_protection.protocol.events import EventSplitter, event_data
from stainedglass_output_protection.protocol.fields_reader import find_frame
from stainedglass_output_protection.protocol.head import Parameters
from stainedglass_output_protection.protocol.key_schedule import RequestSecrets
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.opaque_reader import FrameSplitter
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.trust import StatementPolicy
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.middleware import (
    ProtectionMiddleware,
)
from stainedglass_output_protection.server.options import Options
from tests.rings import own_ring

Message = MutableMapping[str, Any]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

CHAT = "/v1/chat/completions"


def make_ring(period_ms: int = 3_600_000) -> KeyRing:
    """Return a key ring with a current epoch."""
    ring = own_ring(period_ms)
    ring.tick(unix_ms())
    return ring


def protect(
    app: ASGIApp, ring: KeyRing | None = None, **options: Any
) -> ProtectionMiddleware:
    """Return ``app`` behind the middleware, with the default names."""
    used = make_ring() if ring is None else ring
    return ProtectionMiddleware(app, Options(**options), ring_of=lambda scope: used)


def answering(
    *pieces: bytes,
    content_type: str = "text/event-stream; charset=utf-8",
    status: int = 200,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> ASGIApp:
    """Return an application that answers with these body pieces and ends its body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", content_type.encode()), *headers]
        await send({"type": "http.response.start", "status": status, "headers": start})
        for piece in pieces:
            message = {"type": "http.response.body", "body": piece, "more_body": True}
            await send(message)
        await send({"type": "http.response.body", "body": b""})

    return app


async def call(
    target: ASGIApp,
    /,
    *,
    path: str = CHAT,
    method: str = "POST",
    key_pair: ClientKeyPair | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
    **scope: Any,
) -> list[Message]:
    """Call ``target`` once and return every message it sent."""
    sent: list[Message] = []
    offered = list(headers)
    if key_pair is not None:
        offered.append((b"x-client-public-key", key_pair.header_value.encode()))

    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await target(
        {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "root_path": "",
            "headers": offered,
            **scope,
        },
        receive,
        send,
    )
    return sent


def body_of(sent: list[Message]) -> bytes:
    """Return the joined wire body."""
    return b"".join(message.get("body", b"") for message in sent)


def header_of(sent: list[Message], name: bytes) -> list[bytes]:
    """Return the values of a response header."""
    return [value for key, value in sent[0]["headers"] if key.lower() == name]


class Opened:
    """A protected response, opened as a client does.

    ``request`` is what the answer to a sealed request depends on, in its ``suite``.
    """

    def __init__(
        self,
        sent: list[Message],
        key_pair: ClientKeyPair,
        *,
        request: RequestSecrets | None = None,
        suite: int = SUITE_X25519,
    ) -> None:
        policy = StatementPolicy()
        wire = body_of(sent)
        content_type = header_of(sent, b"content-type")[0]
        is_opaque = content_type == OPAQUE_MEDIA_TYPE.encode()
        opener = Opener(
            key_pair,
            accept=lambda it: policy.accept(it, now_ms=unix_ms()),
            parameters=Parameters(
                suite=suite,
                profile=PROFILE_SEALED if request else PROFILE_OUTPUT,
                container=CONTAINER_OPAQUE if is_opaque else CONTAINER_FIELDS,
            ),
            request=request,
        )
        if is_opaque:
            frames = FrameSplitter().feed(wire)
        elif content_type.startswith(b"text/event-stream"):
            datas = [event_data(block) for block in EventSplitter().feed(wire)]
            found = [find_frame(data) for data in datas if data is not None]
            frames = [frame for frame in found if frame is not None]
        else:
            frames = [frame for frame in [find_frame(wire)] if frame is not None]
        self.payloads = [opener.open(frame) for frame in frames]
        self.is_complete = opener.is_complete
        self.status = opener.status
        self.content_type = opener.content_type
        self.body = b"".join(self.payloads)
