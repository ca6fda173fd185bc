"""What stands for EasyDeL's ``eSurgeApiServer`` where that is not installed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import iterate_in_threadpool

from tests.asgi.applications import CANARY, PIECES, answer, event
from tests.asgi.inference_forms import (
    chat_end_of,
    chat_of,
    data_event,
    delta_of,
    error_body,
    named_event,
    response_of,
)
from tests.asgi.scripted_engine import FAILING, pieces_for

ORIGIN = "https://chat.example.com"
# Shorter, and a machine that stands still closes what is about to be used.
KEEP_ALIVE_S = 600


class StandIn:
    """As EasyDeL's: an app with CORS and two middlewares, its routes, counts and forms."""

    def __init__(self, door: Path = Path()) -> None:
        self.app = FastAPI(lifespan=self._lifespan)
        self.app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN])
        self.status = "starting"
        self._door = door
        self._active = 0
        self._counts = {
            "total_requests": 0,
            "successful_requests": 0,
            "failed_requests": 0,
            "total_tokens_generated": 0,
        }

        @self.app.middleware("http")
        async def add_request_id(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["X-Request-ID"] = f"req_{int(time.time() * 1e6)}"
            return response

        @self.app.middleware("http")
        async def track_metrics(request: Request, call_next: Any) -> Any:
            self._counts["total_requests"] += 1
            response = await call_next(request)
            is_good = response.status_code < 400
            self._counts["successful_requests" if is_good else "failed_requests"] += 1
            return response

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
        self.status = "ready"
        yield
        self.status = "shutting_down"
        print("The stand-in has stopped.", flush=True)

    async def chat_completions(self, raw_request: Request) -> Any:
        asked = await raw_request.json()
        prompt = asked["messages"][-1]["content"]
        return self._answer(asked, prompt, chat_of(prompt), chat_end_of(prompt))

    async def completions(self, raw_request: Request) -> Any:
        asked = await raw_request.json()
        choice = {"index": 0, "text": "".join(PIECES), "finish_reason": "stop"}
        whole = {**answer(), "object": "text_completion", "choices": [choice]}
        # Its events are a chat's.
        return self._answer(asked, asked["prompt"], whole, chat_end_of(asked["prompt"]))

    async def responses(self, raw_request: Request) -> Any:
        asked = await raw_request.json()
        whole = response_of(asked["input"])
        begin = {"type": "response.created", "response": {**whole, "output": []}}
        end = named_event({"type": "response.completed", "response": whole})
        return self._answer(
            asked, asked["input"], whole, end, named_event(begin), delta_of
        )

    def _answer(
        self,
        asked: Any,
        prompt: str,
        whole: Any,
        end: str,
        begin: str = "",
        told: Callable[[str], str] = lambda piece: data_event(event(piece)),
    ) -> Any:
        if asked.get("stream"):
            flow = self._flow(prompt, begin, told, end)
            return StreamingResponse(flow, media_type="text/event-stream")
        if prompt == FAILING:
            return JSONResponse(error_body(), 500)
        self._counts["total_tokens_generated"] += len(PIECES)
        return JSONResponse(whole)

    async def _flow(
        self, prompt: str, begin: str, told: Callable[[str], str], end: str
    ) -> AsyncIterator[str]:
        self._active += 1
        try:
            yield begin
            async for piece in iterate_in_threadpool(pieces_for(prompt, self._door)):
                yield told(piece)
            yield end
            self._counts["total_tokens_generated"] += len(PIECES)
        except RuntimeError:
            self._counts["successful_requests"] -= 1
            self._counts["failed_requests"] += 1
            named = named_event({"type": "response.error", "error": error_body()})
            yield named if begin else data_event(json.dumps(error_body()).encode())
        finally:
            self._active -= 1

    async def health_check(self) -> Any:
        told = {"status": self.status, "active_generation_slots": self._active}
        return JSONResponse(told)

    async def get_metrics(self) -> Any:
        return JSONResponse(self._counts)

    async def list_models(self) -> Any:
        return JSONResponse({"object": "list", "data": [{"id": "m"}]})

    async def get_model(self, model_id: str) -> Any:
        return JSONResponse({"id": model_id})

    async def list_tools(self) -> Any:
        return JSONResponse({"models": {"m": {"tools": []}}})

    async def execute_tool(self) -> Any:
        return JSONResponse({"result": CANARY})

    def run(self, host: str, port: int, log_level: str) -> None:
        """Serve as EasyDeL's ``run`` does."""
        uvicorn.run(
            self.app,
            host=host,
            port=port,
            log_level=log_level,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
