"""A server as EasyDeL's ``BaseInferenceApiServer`` is built, and a stub of its engine.

Where EasyDeL is installed, ``python -m tests.asgi.inference_server PORT`` serves the stub
on the real base class, protected; otherwise ``LikeEasyDel`` stands for it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, StreamingResponse

from stainedglass_output_protection.asgi import protect
from tests.asgi.applications import CANARY, PIECES, answer, event

# The rows that EasyDeL has and the table has not.
PROTECTED = ("/v1/tools", "/v1/tools/execute", "/v1/models/{model_id}")


class LikeEasyDel:
    """The base class's construction: an app with CORS and two middlewares of its own."""

    def __init__(self) -> None:
        self.app = FastAPI(lifespan=self._lifespan)
        self.app.add_middleware(CORSMiddleware, allow_origins=["*"])
        self.total_requests = 0

        @self.app.middleware("http")
        async def add_request_id(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["X-Request-ID"] = f"req_{int(time.time() * 1e6)}"
            return response

        @self.app.middleware("http")
        async def track_metrics(request: Request, call_next: Any) -> Any:
            self.total_requests += 1
            return await call_next(request)

        route = self.app.add_api_route
        route("/v1/chat/completions", self.chat_completions, methods=["POST"])
        route("/v1/completions", self.completions, methods=["POST"])
        route("/v1/responses", self.responses, methods=["POST"])
        route("/health", self.health_check)
        route("/metrics", self.get_metrics)
        route("/v1/models", self.list_models)
        route("/v1/models/{model_id}", self.get_model)
        route("/v1/tools", self.list_tools)
        route("/v1/tools/execute", self.execute_tool, methods=["POST"])

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        await self.on_startup()  # type: ignore[attr-defined]
        yield
        await self.on_shutdown()  # type: ignore[attr-defined]


class Stub:
    """The methods that a server has to have, with an engine that knows one answer."""

    status = "starting"
    generated = 0
    aborted = 0

    async def on_startup(self) -> None:
        self.status = "ready"

    async def on_shutdown(self) -> None:
        self.status = "shutting_down"

    async def chat_completions(self, raw_request: Request) -> Any:
        asked = await raw_request.json()
        if asked.get("stream"):
            flow = self._flow(raw_request, asked.get("user", ""))
            return StreamingResponse(flow, media_type="text/event-stream")
        self.generated += len(PIECES)
        return JSONResponse(answer())

    async def _flow(self, request: Request, kind: str) -> AsyncIterator[bytes]:
        has_ended = False
        try:
            for piece in PIECES * (1000 if kind == "endless" else 1):
                if await request.is_disconnected():
                    return
                self.generated += 1
                yield b"data: " + event(piece) + b"\n\n"
                if kind:
                    await asyncio.sleep(0.1)
                if kind == "failing":
                    yield _error_event()
                    break
            else:
                yield b"data: [DONE]\n\n"
            has_ended = True
        finally:
            # As its engine aborts what nobody reads.
            self.aborted += not has_ended

    async def completions(self, raw_request: Request) -> Any:
        choice = {"index": 0, "text": CANARY, "finish_reason": "length"}
        told = {**answer(), "object": "text_completion", "choices": [choice]}
        return JSONResponse(told)

    async def responses(self, raw_request: Request) -> Any:
        if not (await raw_request.json()).get("stream"):
            return JSONResponse(_response())
        flow = _named_events()
        return StreamingResponse(flow, media_type="text/event-stream")

    async def health_check(self, raw_request: Request) -> Any:
        return JSONResponse({"status": str(self.status)})

    async def get_metrics(self, raw_request: Request) -> Any:
        told = {"total_tokens_generated": self.generated, "aborted": self.aborted}
        return JSONResponse(told)

    async def list_models(self, raw_request: Request) -> Any:
        return JSONResponse({"object": "list", "data": [{"id": "m"}]})

    async def get_model(self, model_id: str, raw_request: Request) -> Any:
        return JSONResponse({"id": model_id})

    async def list_tools(self, raw_request: Request) -> Any:
        return JSONResponse({"tools": []})

    async def execute_tool(self, raw_request: Request) -> Any:
        return JSONResponse({"result": CANARY})


def _response() -> dict[str, Any]:
    part = {"type": "output_text", "text": "".join(PIECES), "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": [part]}
    return {"id": "resp_1", "object": "response", "model": "m", "output": [item]}


async def _named_events() -> AsyncIterator[bytes]:
    """Yield the events of a response, each under its name."""
    delta = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    told = [{"type": "response.created", "response": {**_response(), "output": []}}]
    told += [
        {"type": "response.output_text.delta", **delta, "delta": it} for it in PIECES
    ]
    told.append({"type": "response.completed", "response": _response()})
    for number, it in enumerate(told):
        data = json.dumps({**it, "sequence_number": number})
        yield f"event: {it['type']}\ndata: {data}\n\n".encode()


def _error_event() -> bytes:
    """Return an error as it tells one in the middle of a stream that began well."""
    error = {"message": f"no more {CANARY}", "type": "INTERNAL_ERROR"}
    told = {"error": error, "request_id": None, "timestamp": 1.0}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


class StandIn(Stub, LikeEasyDel):
    """The stub where EasyDeL is not."""


def real_server() -> Any:
    """Return the stub on the real base class."""
    from easydel.inference.inference_engine_interface import BaseInferenceApiServer

    class Real(Stub, BaseInferenceApiServer):  # type: ignore[misc]
        """The stub on it."""

    for name in BaseInferenceApiServer.__abstractmethods__ - set(dir(Stub)):
        setattr(Real, name, _not_used)
    Real.__abstractmethods__ = frozenset()
    # None of the defaults, as far as a choice is there.
    return Real(
        max_workers=2,
        max_request_size=1024 * 1024,
        request_timeout=60.0,
        cors_origins=["https://chat.example.com"],
        enable_auth_ui=True,
    )


def _not_used(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError


if __name__ == "__main__":
    server = real_server()
    protect(server.app, protected_routes=PROTECTED, key_refresh_time_s=0.3)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
