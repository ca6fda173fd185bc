"""vLLM's speech routers over a stand-in for its engine: once protected and once plain.

    python -m tests.vllm_layer.speech_server

Prints two loopback ports, the protected one first, and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse
from vllm.entrypoints.speech_to_text.realtime import api_router as realtime
from vllm.entrypoints.speech_to_text.transcription import api_router as transcriptions
from vllm.entrypoints.speech_to_text.transcription import protocol as transcription
from vllm.entrypoints.speech_to_text.translation import api_router as translations
from vllm.entrypoints.speech_to_text.translation import protocol as translation

from stainedglass_output_protection.vllm.protection import protect_app

CANARY = "heliotrope-marmoset"


def error(*args: Any, **kwargs: Any) -> ErrorResponse:
    """Return an error that tells what it should not."""
    info = ErrorInfo(message=CANARY, type="BadRequestError", param=CANARY, code=400)
    return ErrorResponse(error=info)


class Serving:
    """Answers each format with the upload's own words."""

    async def create_transcription(
        self, audio: bytes, request: Any, raw_request: Any
    ) -> Any:
        """Answer as ``OpenAIServingTranscription`` does."""
        words = audio.decode()
        usage = transcription.TranscriptionUsageAudio(seconds=3)
        if request.stream:
            return self._events(words, transcription, "Transcription")
        if request.response_format in ("json", "text"):
            return transcription.TranscriptionResponse(text=words, usage=usage)
        if request.response_format == "verbose_json":
            word = transcription.TranscriptionWord(start=0.0, end=1.0, word=words)
            return transcription.TranscriptionResponseVerbose(
                duration=3.0, language=CANARY, text=words, words=[word]
            )
        if request.response_format == "diarized_json":
            return transcription.TranscriptionResponseDiarized(
                duration=3.0, text=words, segments=[], usage=usage
            )
        return error()

    async def create_translation(
        self, audio: bytes, request: Any, raw_request: Any
    ) -> Any:
        """Answer as ``OpenAIServingTranslation`` does."""
        words = audio.decode()
        if request.stream:
            return self._events(words, translation, "Translation")
        if request.response_format in ("json", "text"):
            return translation.TranslationResponse(text=words)
        if request.response_format == "verbose_json":
            return translation.TranslationResponseVerbose(
                duration=3.0, language=CANARY, text=words
            )
        return error()

    async def _events(self, words: str, module: Any, kind: str) -> AsyncIterator[str]:
        event = getattr(module, f"{kind}StreamResponse")
        choice = getattr(module, f"{kind}ResponseStreamChoice")
        for finish_reason in (None, "stop"):
            piece = choice(delta={"content": words}, finish_reason=finish_reason)
            data = event(id="trsc-1", created=7, model="m", choices=[piece])
            yield f"data: {data.model_dump_json(exclude_unset=True)}\n\n"
        yield "data: [DONE]\n\n"


class Realtime:
    """Refuses every model with words that it should not say."""

    create_error_response = staticmethod(error)

    def _is_model_supported(self, model: str) -> bool:
        return False


def build() -> FastAPI:
    """Return an app with the routers as vLLM attaches them."""
    app = FastAPI()
    for module in (realtime, transcriptions, translations):
        app.include_router(module.router)
    app.state.openai_serving_transcription = Serving()
    app.state.openai_serving_translation = Serving()
    app.state.openai_serving_realtime = Realtime()
    return app


async def main() -> None:
    """Serve both apps."""
    protected = build()
    protect_app(protected)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    servers = [
        uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_keep_alive=600))
        for app in (protected, build())
    ]
    running = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in zip(servers, listeners, strict=True)
    ]
    while not all(server.started for server in servers):
        await asyncio.sleep(0.01)
    print(*(listener.getsockname()[1] for listener in listeners), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*running)


if __name__ == "__main__":
    asyncio.run(main())
