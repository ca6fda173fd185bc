"""A server of the relay's own: the protocol in order, under another identity."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.middleware import (
    ProtectionMiddleware,
)
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.own_epochs import OwnEpochs

WORDS = "The relay says so."
_HOUR_MS = 3_600_000


@dataclass
class Impostor:
    """Opens what is sealed to it, keeps it, and answers with the relay's words."""

    identity: IdentityKey
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0

    def app(self) -> ProtectionMiddleware:
        """Return the protected application."""
        ring = KeyRing(self.identity, OwnEpochs(EpochTimes(_HOUR_MS)))
        ring.tick(unix_ms())
        return ProtectionMiddleware(self._answer, Options(), ring_of=lambda scope: ring)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.bodies.append((await receive()).get("body", b""))
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": completion(WORDS)})


def completion(words: str) -> bytes:
    """Return a plausible chat completion."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": words},
        "finish_reason": "stop",
    }
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "tiny",
        "choices": [choice],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
    }
    return json.dumps(body).encode()


def chunk(words: str) -> bytes:
    """Return a plausible event of a streamed chat completion."""
    choice = {"index": 0, "delta": {"content": words}, "finish_reason": None}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": "tiny",
        "choices": [choice],
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


@contextlib.contextmanager
def serving_impostor(identity: IdentityKey | None = None) -> Iterator[Impostor]:
    """Put an impostor on a free port for as long as the block lasts.

    With the attacked server's identity it is that server in an earlier life: its epochs
    are its own.
    """
    impostor = Impostor(identity or IdentityKey.generate())
    config = uvicorn.Config(
        impostor.app(), log_level="error", lifespan="off", timeout_keep_alive=600
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    impostor.port = listener.getsockname()[1]
    thread = threading.Thread(
        target=asyncio.run, args=[server.serve(sockets=[listener])]
    )
    thread.start()
    try:
        yield impostor
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
