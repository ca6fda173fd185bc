"""A real server on a loopback port, with the protection around a small application."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.middleware import (
    ProtectionMiddleware,
)
from stainedglass_output_protection.server.options import Options
from tests.asgi_driver import make_ring

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

CHAT = "/v1/chat/completions"
WORDS = ["vermilion", " Straße", " 東京", " \N{SPARKLES}", ' "quoted"\n']
ANSWER = "".join(WORDS)


def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


EVENTS = [
    event({"role": "assistant", "content": ""}),
    *(event({"content": word}) for word in WORDS),
    event({}, "stop"),
    b"data: [DONE]\n\n",
]


@dataclass
class Served:
    """An application that chats; ``received`` are the bodies that it was asked with.

    ``may_end`` holds a stream after its second event until it is set.
    """

    ring: KeyRing = field(default_factory=make_ring)
    received: list[bytes] = field(default_factory=list)
    may_end: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_end.set()

    def app(self, **options: Any) -> Starlette:
        routes = [Route(CHAT, self._chat, methods=["POST"])]
        app = Starlette(routes=routes)
        app.add_middleware(
            ProtectionMiddleware, Options(**options), ring_of=lambda scope: self.ring
        )
        return app

    async def _chat(self, request: Request) -> Response:
        body = await request.body()
        self.received.append(body)
        asked = json.loads(body)
        if asked["model"] == "unknown":
            return JSONResponse({"error": {"message": ANSWER}}, status_code=404)
        if asked.get("stream"):
            return StreamingResponse(self._events(), media_type="text/event-stream")
        message = {"role": "assistant", "content": ANSWER}
        return JSONResponse({"choices": [{"index": 0, "message": message}]})

    async def _events(self) -> AsyncIterator[bytes]:
        for number, one in enumerate(EVENTS):
            while number == 2 and not self.may_end.is_set():
                await asyncio.sleep(0.01)
            yield one


@dataclass
class Wire:
    """What lies on the way: keeps all bytes of requests and answers, changes nothing."""

    app: ASGIApp
    requests: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests.append(repr(scope).encode())

        async def read() -> Any:
            message = await receive()
            self.requests.append(message.get("body", b""))
            return message

        async def write(message: Any) -> None:
            self.answers.append(repr(message.get("headers", "")).encode())
            self.answers.append(message.get("body", b""))
            await send(message)

        await self.app(scope, read, write)


@contextlib.contextmanager
def serve(app: ASGIApp) -> Iterator[str]:
    """Put ``app`` on a free loopback port; yield its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="critical", lifespan="off", timeout_keep_alive=600
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=asyncio.run, args=[server.serve(sockets=[listener])]
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
