"""A stand-in for vLLM's API: an app with a lifespan like its own, and an ASGI driver."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from argparse import Namespace
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse

from stainedglass_output_protection.protocol.encoding import decode_base64
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.opener import Opener

CHAT = "/v1/chat/completions"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "xylophone"},
            "finish_reason": "stop",
        }
    ],
}
EVENTS = [
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"xylo"},"finish_reason":null}]}\n\n',
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"phone"},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
]


@contextlib.asynccontextmanager
async def vllm_lifespan(app: FastAPI) -> AsyncIterator[None]:
    """End as vLLM's lifespan ends."""
    try:
        yield
    finally:
        del app.state


def build_app(
    args: Namespace, supported_tasks: Any = None, model_config: Any = None
) -> FastAPI:
    """Build an app as vLLM does, with the parameters that newer releases have."""
    app = FastAPI(lifespan=vllm_lifespan)
    app.state.args = args
    app.state.tasks = supported_tasks

    @app.post(CHAT)
    async def chat(body: dict[str, Any]) -> Any:
        if body.get("stream"):
            return StreamingResponse(_events(), media_type="text/event-stream")
        return JSONResponse(ANSWER)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {}

    # The SageMaker bootstrap does this at the end of vLLM's build_app.
    app.middleware_stack = app.build_middleware_stack()
    return app


async def _events() -> AsyncIterator[bytes]:
    for event in EVENTS:
        yield event


@contextlib.asynccontextmanager
async def started(app: Any) -> AsyncIterator[None]:
    """Run the app's lifespan through its middleware, as a server does."""
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    task = asyncio.create_task(app(scope, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    message = await outbox.get()
    if message["type"] != "lifespan.startup.complete":
        await asyncio.gather(task, return_exceptions=True)
        raise RuntimeError(message.get("message", ""))
    try:
        yield
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        await task


async def post(
    app: Any, body: Any, headers: dict[str, str] | None = None, path: str = CHAT
) -> tuple[int, dict[str, str], bytes]:
    """Send one request; return status, headers and body."""
    sent: list[Any] = []
    incoming = [{"type": "http.request", "body": json.dumps(body).encode()}]

    async def receive() -> Any:
        if incoming:
            return incoming.pop()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope_of(path, headers), receive, send)
    start = sent[0]
    received = {key.decode(): value.decode() for key, value in start["headers"]}
    return (
        start["status"],
        received,
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


def scope_of(path: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the ASGI scope of a POST."""
    every = {"content-type": "application/json", **(headers or {})}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(key.encode(), value.encode()) for key, value in every.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


def opened(body: bytes, key_pair: ClientKeyPair) -> bytes:
    """Return what a client with ``key_pair`` reads in a protected body."""
    opener = Opener(key_pair=key_pair, accept=lambda statement: None)
    payload = b""
    for text in re.findall(rb"sgop1\.([A-Za-z0-9+/=]+)", body):
        frame = decode_base64(text)
        assert frame is not None
        payload += opener.open(frame)
    opener.finish()
    return payload
