"""The same small engine as three kinds of application."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

CHAT = "/v1/chat/completions"
# What must never be seen outside.
CANARY = "xylophonistglock"
# None so short that sealed text may hold it by chance.
PIECES = ["xylophon", "istglock", " playing"]
ASK: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "What is played?"}],
}


@dataclass(frozen=True)
class Identity:
    """Where a server's identity is, and what clients pin."""

    path: Path
    fingerprint: str


def answer() -> dict[str, Any]:
    """Return a chat completion with the canary in it."""
    message = {"role": "assistant", "content": "".join(PIECES)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    }


def event(text: str, **changes: Any) -> bytes:
    """Return the JSON of one event with ``text``."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    body = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{**choice, **changes}],
    }
    return json.dumps(body).encode()


def events() -> Iterator[bytes]:
    """Yield the stream of the same answer."""
    for piece in PIECES:
        yield b"data: " + event(piece) + b"\n\n"
    yield b"data: [DONE]\n\n"


async def chat(request: Request) -> Response:
    """Answer a chat as engines do."""
    asked = await request.json()
    if asked.get("stream"):
        return StreamingResponse(_flow(), media_type="text/event-stream")
    return JSONResponse(answer())


async def _flow() -> AsyncIterator[bytes]:
    for it in events():
        yield it


async def health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


ROUTES = [Route(CHAT, chat, methods=["POST"]), Route("/health", health)]


class Bare:
    """An application without a router. ``paths`` are those it was called with."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        self.paths.append(scope["path"])
        endpoint = health if scope["path"] == "/health" else chat
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)


def fastapi_app(**choices: Any) -> FastAPI:
    """Return it as FastAPI's."""
    app = FastAPI(routes=[*ROUTES], **choices)
    return app


def starlette_app(**choices: Any) -> Starlette:
    """Return it as Starlette's."""
    return Starlette(routes=[*ROUTES], **choices)


KINDS: dict[str, Callable[[], Any]] = {
    "bare": Bare,
    "starlette": starlette_app,
    "fastapi": fastapi_app,
}


@dataclass
class Tapped:
    """Hears what an application sends, as the network does."""

    app: Any
    heard: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def heard_send(message: Any) -> None:
            self.heard.append(message.get("body", b""))
            self.heard += [value for _, value in message.get("headers", ())]
            await send(message)

        await self.app(scope, receive, heard_send if scope["type"] == "http" else send)

    @property
    def wire(self) -> bytes:
        return b"\n".join(self.heard)


@contextlib.asynccontextmanager
async def started(app: Any) -> AsyncIterator[None]:
    """Run the lifespan as a server does; a start that fails is a ``RuntimeError``."""
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    task = asyncio.create_task(app(scope, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    said = asyncio.ensure_future(outbox.get())
    await asyncio.wait((task, said), return_when=asyncio.FIRST_COMPLETED)
    if not said.done():
        said.cancel()
        await task
        raise AssertionError("It said nothing of its start.")
    message = await said
    if message["type"] != "lifespan.startup.complete":
        await asyncio.gather(task, return_exceptions=True)
        raise RuntimeError(message.get("message", ""))
    try:
        yield
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        await task


def without_lifespan(app: Any) -> uvicorn.Config:
    """Return how a server runs an application that leaves its lifespan out."""
    return uvicorn.Config(app, lifespan="off", log_level="critical")
