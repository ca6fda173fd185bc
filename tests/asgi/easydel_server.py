"""EasyDeL's own ``eSurgeApiServer`` on a stub of its engine."""

# It is rarely installed where types are checked.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from tests.asgi.applications import CANARY
from tests.asgi.inference_server import KEEP_ALIVE_S, ORIGIN
from tests.asgi.scripted_engine import CALL, CALLING, THINKING, pieces_for


def easydel_server(door: Path) -> Any:
    """Return EasyDeL's server. Of its engine is a stub only what needs a model."""
    from easydel.inference import inference_engine_interface
    from easydel.inference.esurge import esurge_engine
    from easydel.inference.esurge.server import api_server

    inference_engine_interface.TIMEOUT_KEEP_ALIVE = KEEP_ALIVE_S

    class Tokenizer:
        def __call__(self, text: str) -> Any:
            return {"input_ids": text.split()}

        def apply_chat_template(self, messages: Any, **options: Any) -> str:
            return str(messages[-1]["content"])

    class Engine(esurge_engine.eSurge):  # type: ignore[misc]
        """Makes no tokens: ``stream`` has them."""

        _esurge_name = "m"
        _monitoring_initialized = False
        max_num_seqs = 32
        max_model_len = 4096
        num_pending_requests = num_running_requests = 0

        def __init__(self) -> None:
            self.tokenizer = Tokenizer()
            self._aborted: dict[str, threading.Event] = {}

        def abort_request(self, request_id: str) -> None:
            self._aborted[request_id].set()

        def generate(
            self, prompts: Any, sampling_params: Any = None, **options: Any
        ) -> list[Any]:
            *_, last = self.stream(prompts, **options)
            return [last]

        def stream(
            self, prompts: str, sampling_params: Any = None, **options: Any
        ) -> Iterator[Any]:
            request_id = options["request_id"]
            aborted = self._aborted.setdefault(request_id, threading.Event())
            thought = CANARY if prompts == THINKING else None
            calls = [CALL] if prompts == CALLING else None
            text, count = "", 0
            for piece in pieces_for(prompts, door):
                if aborted.is_set():
                    return
                text, count = text + piece, count + 1
                yield esurge_engine.RequestOutput(
                    request_id=request_id,
                    prompt=prompts,
                    prompt_token_ids=list(range(len(prompts.split()))),
                    outputs=[
                        esurge_engine.CompletionOutput(
                            index=0,
                            text=text,
                            token_ids=list(range(count)),
                            tool_calls=calls,
                            reasoning_content=thought,
                        )
                    ],
                    accumulated_text=text,
                    delta_text=piece,
                    num_generated_tokens=count,
                    tool_calls=calls,
                    delta_tool_calls=calls and [{**CALL, "index": 0}],
                    reasoning_content=thought,
                    delta_reasoning_content=thought if count == 1 else None,
                )

    class Server(api_server.eSurgeApiServer):  # type: ignore[misc]
        """All of it EasyDeL's own, but for a tool, of which it has none."""

        async def execute_tool(self, raw_request: Request) -> JSONResponse:
            return JSONResponse({"result": CANARY})

    # None of the defaults, as far as a choice is there.
    return Server(
        Engine(),
        enable_persistence=False,
        max_concurrent_generations=30,
        max_request_size=1024 * 1024,
        request_timeout=60.0,
        cors_origins=[ORIGIN],
        enable_auth_ui=True,
    )
