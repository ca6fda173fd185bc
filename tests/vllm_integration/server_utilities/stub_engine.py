"""``sg-vllm serve`` with everything of vLLM's own but its engine.

    python -m tests.vllm_integration.server_utilities.stub_engine serve MODEL [OPTIONS]

The API, its middlewares, its exception handlers, its lifespan and its sockets are those
of the installed vLLM. Only what makes words is ours: it answers a chat with the last
thing that was said and a secret word, in vLLM's own objects, or raises what it was asked
to (see ``RAISING``), or waits for another request first (see ``beside``). With
``STUB_LOADS=1`` its engine says so and loads for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

SECRET = "Quillfeather"
# The seed's decoder loses a chunk that ends inside a character: so there is one to end in.
ACCENT = "\u00fcber\u2014\U0001f40c"
MODEL_NAME = "tiny"
TASKS = ("generate", "realtime")
LOADING = "The engine is loading."
_BESIDE = "Beside my twin: "
# Less than clients wait.
_TWIN_LIMIT_S = 100.0

# What is said before a colon, and the exception that the rest becomes the words of.
RAISING = {
    "not-found": "HTTPException",
    "value": "ValueError",
    "runtime": "RuntimeError",
}


def answer_to(said: str) -> str:
    """Return what a chat is answered."""
    return f"{SECRET} {ACCENT} {said}"


def beside(said: str) -> str:
    """Return what to say to be answered with what its twin says.

    No answer begins before both are there: the two requests that have one request id.
    """
    return f"{_BESIDE}{said}"


class Serving:
    """In place of vLLM's ``OpenAIServingChat``."""

    def __init__(self) -> None:
        self._twins: dict[str, tuple[str, asyncio.Future[str]]] = {}

    async def create_chat_completion(self, request: Any, raw_request: Any) -> Any:
        """Answer as vLLM's own does: an object, or the text of a stream's events."""
        from vllm.entrypoints.openai.chat_completion import protocol
        from vllm.entrypoints.serve.engine.protocol import UsageInfo

        said = request.messages[-1]["content"]
        _raise(said)
        if said.startswith(_BESIDE):
            said = said.removeprefix(_BESIDE)
            twin = await self._meet(raw_request.headers["x-request-id"], said)
            said = f"{said} beside {twin}"
        words = answer_to(said)
        if request.stream:
            return self._events(words, request, protocol)
        message = protocol.ChatMessage(role="assistant", content=words)
        choice = protocol.ChatCompletionResponseChoice(index=0, message=message)
        return protocol.ChatCompletionResponse(
            model=request.model, choices=[choice], usage=UsageInfo(total_tokens=7)
        )

    async def _meet(self, request_id: str, said: str) -> str:
        """Return what the other request with this id says."""
        if request_id in self._twins:
            words, told = self._twins.pop(request_id)
            told.set_result(said)
            return words
        told = asyncio.get_running_loop().create_future()
        self._twins[request_id] = said, told
        return await asyncio.wait_for(told, _TWIN_LIMIT_S)

    async def _events(
        self, words: str, request: Any, protocol: Any
    ) -> AsyncIterator[str]:
        from vllm.entrypoints.generate.base.protocol import DeltaMessage

        pieces = re.findall(r"\S+\s*", words)
        for number, piece in enumerate(pieces, 1):
            choice = protocol.ChatCompletionResponseStreamChoice(
                index=0,
                delta=DeltaMessage(role="assistant", content=piece),
                finish_reason="stop" if number == len(pieces) else None,
            )
            event = protocol.ChatCompletionStreamResponse(
                id="chatcmpl-1",
                object="chat.completion.chunk",
                created=7,
                model=request.model,
                choices=[choice],
            )
            yield f"data: {event.model_dump_json(exclude_unset=True)}\n\n"
        yield "data: [DONE]\n\n"


class Models:
    """In place of vLLM's ``OpenAIServingModels``."""

    async def show_available_models(self) -> Any:
        """Name the one model."""
        from vllm.entrypoints.serve.engine.protocol import ModelCard, ModelList

        return ModelList(data=[ModelCard(id=MODEL_NAME)])


def engine() -> Any:
    """Return an engine's client that has no engine."""

    async def tasks() -> tuple[str, ...]:
        return TASKS

    async def nothing() -> None:
        return None

    return SimpleNamespace(
        get_supported_tasks=tasks,
        check_health=nothing,
        do_log_stats=nothing,
        shutdown=lambda timeout=0: None,
        model_config=None,
        vllm_config=SimpleNamespace(shutdown_timeout=0),
        errored=False,
        is_running=True,
    )


async def fill_state(client: Any, state: Any, args: Any, *_: Any) -> None:
    """Put into an app's state what vLLM's ``init_app_state`` would."""
    state.engine_client = client
    state.log_stats = True
    state.args = args
    state.enable_server_load_tracking = False
    state.server_load_metrics = 0
    state.openai_serving_models = Models()
    state.openai_serving_chat = Serving()


def leave_out_engine() -> None:
    """Let vLLM's API server come up with the stand-ins of this file."""
    from vllm.entrypoints.launchers.api_server import entry

    @contextlib.asynccontextmanager
    async def no_engine(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if os.environ.get("STUB_LOADS"):
            print(LOADING, flush=True)
            await asyncio.Event().wait()
        yield engine()

    entry.build_async_engine_client = no_engine
    entry.init_app_state = fill_state


def _raise(said: str) -> None:
    kind, colon, words = said.partition(":")
    if not colon or kind not in RAISING:
        return
    if kind == "not-found":
        from fastapi import HTTPException

        raise HTTPException(404, detail=words)
    raise {"value": ValueError, "runtime": RuntimeError}[kind](words)


def main() -> None:
    """Run the real command."""
    from stainedglass_output_protection.apps.cli import main as run_cli
    from stainedglass_output_protection.server.rotation_signal import (
        block_rotation_signal,
    )

    # As the command does before it imports vLLM, which starts threads.
    block_rotation_signal()
    leave_out_engine()
    run_cli()


if __name__ == "__main__":
    sys.argv[0] = "sg-vllm"
    main()
