"""Validates envelopes by vLLM's own response models, in a process of its own.

    python -m tests.vllm_layer.vllm_models

Each line of the input is ``[label, model, envelope]``, the last as a string. Prints the
label of each that is valid, and why another is not to the standard error. ``events``
as the only argument prints the types of the events that vLLM sends as responses.
"""

from __future__ import annotations

import json
import sys
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from vllm.entrypoints.anthropic import protocol as anthropic
from vllm.entrypoints.generate.generative_scoring import serving as generative_scoring
from vllm.entrypoints.generate.structured_decisions import protocol as decisions
from vllm.entrypoints.openai.chat_completion import protocol as chat
from vllm.entrypoints.openai.completion import protocol as completion
from vllm.entrypoints.openai.responses import protocol as responses
from vllm.entrypoints.pooling.classify import protocol as classify
from vllm.entrypoints.pooling.embed import protocol as embed
from vllm.entrypoints.pooling.pooling import protocol as pooling
from vllm.entrypoints.pooling.scoring import protocol as scoring
from vllm.entrypoints.serve.engine import protocol as engine
from vllm.entrypoints.serve.tokenize import protocol as tokenize
from vllm.entrypoints.speech_to_text.transcription import protocol as transcription
from vllm.entrypoints.speech_to_text.translation import protocol as translation

MODELS: dict[str, Any] = {
    "anthropic error": anthropic.AnthropicErrorResponse,
    "batch": chat.ChatCompletionResponse,
    "chat": chat.ChatCompletionResponse,
    "chat event": chat.ChatCompletionStreamResponse,
    "classify": classify.ClassificationResponse,
    "completions": completion.CompletionResponse,
    "completions event": completion.CompletionStreamResponse,
    "count": anthropic.AnthropicCountTokensResponse,
    "decisions": decisions.StructuredDecisionResponse,
    "diarized transcription": transcription.TranscriptionResponseDiarized,
    "detokenize": tokenize.DetokenizeResponse,
    "embeddings": embed.EmbeddingResponse,
    "error": engine.ErrorResponse,
    "generative scoring": generative_scoring.GenerativeScoringResponse,
    "messages": anthropic.AnthropicMessagesResponse,
    "messages event": anthropic.AnthropicStreamEvent,
    "pooling": pooling.PoolingResponse,
    "rerank": scoring.RerankResponse,
    "responses": responses.ResponsesResponse,
    "score": scoring.ScoreResponse,
    "tokenize": tokenize.TokenizeResponse,
    "transcription": transcription.TranscriptionResponse,
    "translation": translation.TranslationResponse,
    "verbose transcription": transcription.TranscriptionResponseVerbose,
    "verbose translation": translation.TranslationResponseVerbose,
}
EVENTS = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in get_args(responses.StreamingResponsesResponse)
}


def main(arguments: list[str]) -> None:
    """Answer on the standard output."""
    if arguments == ["events"]:
        print(*EVENTS)
        return
    for line in sys.stdin:
        label, name, envelope = json.loads(line)
        model = MODELS.get(name) or EVENTS[name]
        try:
            TypeAdapter(model).validate_json(envelope, strict=True)
        except ValidationError as error:
            print(f"{label} is no {name}: {envelope}: {error}", file=sys.stderr)
        else:
            print(label)


if __name__ == "__main__":
    main(sys.argv[1:])
