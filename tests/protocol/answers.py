"""Answers of every route, with a canary wherever nothing may be read."""

from __future__ import annotations

import json
import re
from typing import Any

from stainedglass_output_protection.protocol.events import EventSplitter, event_data
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.asgi_driver import Opened, answering, body_of, protect
from tests.server.asking import ask

CANARY = "zephyrous-quokka"
NUMBER = 424_242_424
JSON = "application/json"
_FRAME = re.compile(rb"sgop1\.[A-Za-z0-9+/=]+")
_USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
_MORE_USAGE = {
    **_USAGE,
    "prompt_tokens_details": {"cached_tokens": NUMBER},
    "completion_tokens_details": {"reasoning_tokens": NUMBER},
}
_TOOL_CALL = {
    "index": 0,
    "id": CANARY,
    "type": "function",
    "function": {"name": CANARY, "arguments": CANARY},
}
_LOGPROBS = {"content": [{"token": CANARY, "logprob": NUMBER, "bytes": [NUMBER]}]}


def _object(kind: str, **members: Any) -> dict[str, Any]:
    common = {"id": "id-1", "object": kind, "created": 7, "model": "m"}
    return {**common, **members, "system_fingerprint": CANARY, "service_tier": CANARY}


def _choice(index: int, **members: Any) -> dict[str, Any]:
    return {
        "index": index,
        **members,
        "logprobs": _LOGPROBS,
        "finish_reason": "tool_calls",
        "stop_reason": CANARY,
        "token_ids": [NUMBER],
    }


_MESSAGE = {
    "role": "assistant",
    "content": CANARY,
    "reasoning": CANARY,
    "refusal": CANARY,
    "tool_calls": [_TOOL_CALL],
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 7,
    "model": "m",
    "status": "completed",
    "output": [
        {"type": "reasoning", "id": CANARY, "summary": [], "content": CANARY},
        {
            "type": "message",
            "id": CANARY,
            "role": "assistant",
            "status": CANARY,
            "content": [{"type": "output_text", "text": CANARY, "annotations": []}],
        },
    ],
    "instructions": CANARY,
    "metadata": {CANARY: CANARY},
    "tools": [{"type": "function", "name": CANARY}],
    "temperature": NUMBER,
    "max_output_tokens": NUMBER,
    "usage": {
        "input_tokens": 3,
        "output_tokens": 4,
        "total_tokens": 7,
        "input_tokens_details": {"cached_tokens": NUMBER},
        "output_tokens_details": {"reasoning_tokens": NUMBER},
    },
    "incomplete_details": {"reason": CANARY},
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": CANARY, "signature": CANARY},
        {"type": "tool_use", "id": CANARY, "name": CANARY, "input": {CANARY: NUMBER}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": CANARY,
    "usage": {
        "input_tokens": 3,
        "output_tokens": 4,
        "cache_read_input_tokens": NUMBER,
    },
}
_CHAT = _object(
    "chat.completion",
    choices=[_choice(0, message=_MESSAGE), _choice(1, message=_MESSAGE)],
    usage=_MORE_USAGE,
    prompt_logprobs=[{CANARY: NUMBER}],
)
_SCORE = {"index": 0, "object": CANARY, "score": NUMBER}
_TRANSCRIPT: dict[str, Any] = {
    "text": CANARY,
    "usage": {"type": "duration", "seconds": NUMBER},
}
_VERBOSE_TRANSCRIPT = {
    "text": CANARY,
    "language": CANARY,
    "duration": NUMBER,
    "segments": [{"id": NUMBER, "text": CANARY, "tokens": [NUMBER]}],
    "words": [{"word": CANARY, "start": NUMBER, "end": NUMBER}],
}

# By name: the route, and a body of it.
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", _CHAT),
    "batch": ("/v1/chat/completions/batch", _CHAT),
    "completions": (
        "/v1/completions",
        _object(
            "text_completion",
            choices=[_choice(0, text=CANARY), _choice(1, text=CANARY)],
            usage=_MORE_USAGE,
        ),
    ),
    "responses": ("/v1/responses", RESPONSE),
    "messages": ("/v1/messages", MESSAGE),
    "count": (
        "/v1/messages/count_tokens",
        {"input_tokens": NUMBER, "context_management": {"x": CANARY}},
    ),
    "embeddings": (
        "/v1/embeddings",
        _object(
            "list",
            data=[{"index": NUMBER, "object": CANARY, "embedding": [0.424242]}] * 2,
            usage=_MORE_USAGE,
        ),
    ),
    "classify": (
        "/classify",
        _object(
            "list",
            data=[{"index": 0, "label": CANARY, "probs": [NUMBER], "num_classes": 2}],
            usage=_MORE_USAGE,
        ),
    ),
    "pooling": (
        "/pooling",
        _object("list", data=[{"index": 0, "data": [NUMBER]}], usage=_MORE_USAGE),
    ),
    "score": ("/v1/score", _object("list", data=[_SCORE], usage=_MORE_USAGE)),
    "generative scoring": (
        "/generative_scoring",
        _object("list", data=[_SCORE], usage=_MORE_USAGE),
    ),
    "rerank": (
        "/v2/rerank",
        {
            "id": "rerank-1",
            "model": "m",
            "usage": {"prompt_tokens": 3, "total_tokens": 7},
            "results": [
                {"index": 0, "document": {"text": CANARY}, "relevance_score": NUMBER}
            ],
        },
    ),
    "transcription": ("/v1/audio/transcriptions", _TRANSCRIPT),
    "verbose transcription": ("/v1/audio/transcriptions", _VERBOSE_TRANSCRIPT),
    "diarized transcription": (
        "/v1/audio/transcriptions",
        {**_TRANSCRIPT, "segments": [{"text": CANARY, "speaker": CANARY}]},
    ),
    "translation": ("/v1/audio/translations", {"text": CANARY}),
    "verbose translation": ("/v1/audio/translations", _VERBOSE_TRANSCRIPT),
    "tokenize": (
        "/tokenize",
        {
            "count": NUMBER,
            "max_model_len": NUMBER,
            "tokens": [NUMBER],
            "token_strs": [CANARY],
        },
    ),
    "detokenize": ("/detokenize", {"prompt": CANARY}),
    "decisions": (
        "/v1/systemone",
        {
            "id": "1",
            "object": "structured_decision",
            "created": 7,
            "model": "m",
            "answers": {CANARY: {CANARY: NUMBER}},
            "usage": {"input_tokens": 3, "output_tokens": 4},
            "diagnostics": {CANARY: {"label_mass": NUMBER}},
        },
    ),
}


def chat_events() -> list[bytes]:
    """Return every kind of event of a chat completion."""
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"content": CANARY},
        {"reasoning": CANARY},
        {"tool_calls": [_TOOL_CALL]},
        {},
    ]
    events = [
        _object("chat.completion.chunk", choices=[_choice(index % 2, delta=delta)])
        for index, delta in enumerate(deltas)
    ]
    with_usage = {**events[1], "usage": _MORE_USAGE}
    usage = _object("chat.completion.chunk", choices=[], usage=_MORE_USAGE)
    return [*map(data_event, [*events, with_usage, usage]), b"data: [DONE]\n\n"]


def completion_events() -> list[bytes]:
    """Return every kind of event of a completion."""
    events = [
        _object("text_completion", choices=[_choice(index, text=CANARY)])
        for index in range(2)
    ]
    usage = _object("text_completion", choices=[], usage=_MORE_USAGE)
    return [*map(data_event, [*events, usage]), b"data: [DONE]\n\n"]


def messages_events() -> list[bytes]:
    """Return every kind of event of the Messages API."""
    deltas = [
        {"type": "text_delta", "text": CANARY},
        {"type": "thinking_delta", "thinking": CANARY},
        {"type": "input_json_delta", "partial_json": CANARY},
        {"type": "signature_delta", "signature": CANARY},
    ]
    delta = {"stop_reason": "tool_use", "stop_sequence": CANARY}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": MESSAGE},
        {"type": "ping"},
        *(
            {"type": "content_block_start", "index": NUMBER, "content_block": block}
            for block in MESSAGE["content"]
        ),
        *({"type": "content_block_delta", "index": 0, "delta": it} for it in deltas),
        {"type": "content_block_stop", "index": NUMBER},
        {"type": "message_delta", "delta": delta, "usage": MESSAGE["usage"]},
        {"type": "message_stop"},
    ]
    return [named_event(event) for event in events]


def data_event(members: Any) -> bytes:
    """Return an event without a name."""
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def named_event(members: dict[str, Any]) -> bytes:
    """Return an event that is named by its type."""
    return f"event: {members['type']}\n".encode() + data_event(members)


def poisoned(value: Any) -> Any:
    """Return JSON with members in every object that no version of the page knows."""
    if isinstance(value, dict):
        inner = {name: poisoned(item) for name, item in value.items()}
        return {"novelty": CANARY, **inner, "novel": [{"id": CANARY, "type": CANARY}]}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return value


async def sealed(path: str, *pieces: bytes, content_type: str = JSON) -> bytes:
    """Return the wire body of an answer; it has to open to what was answered."""
    key_pair = ClientKeyPair.generate()
    target = protect(answering(*pieces, content_type=content_type))
    body = b'{"store":false}'
    sent = await ask(target, body, path=path, header_keys=[key_pair.header_value])
    opened = Opened(sent, key_pair)
    assert opened.is_complete
    assert opened.body == b"".join(pieces)
    return body_of(sent)


async def sealed_events(path: str, *events: bytes) -> list[bytes]:
    """Return the data of each event of a sealed stream, apart from ``[DONE]``."""
    wire = await sealed(path, *events, content_type="text/event-stream")
    datas = [event_data(block) for block in EventSplitter().feed(wire)]
    return [data for data in datas if data and data != b"[DONE]"]


def shown(wire: bytes) -> bytes:
    """Return a wire body without its frames."""
    return _FRAME.sub(b"FRAME", wire)
