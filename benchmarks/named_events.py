"""Events with an ``event:`` line as vLLM 0.32 emits them: Responses and Messages API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_PART = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}


def responses_events(texts: list[str], model: str, number: int) -> Iterator[bytes]:
    """Return the events of one response object with one text."""
    response: dict[str, Any] = {
        "id": f"resp_{number:016x}",
        "created_at": 1790000000,
        "model": model,
        "object": "response",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "status": "in_progress",
    }
    item_id = f"msg_{number:016x}"
    at = {"content_index": 0, "item_id": item_id, "output_index": 0}
    item = {"id": item_id, "content": [], "role": "assistant", "type": "message"}
    done = {**response, "status": "completed"}
    events: list[dict[str, Any]] = [
        {"response": response, "type": "response.created"},
        {"response": response, "type": "response.in_progress"},
        {"item": item, "output_index": 0, "type": "response.output_item.added"},
        {**at, "part": _PART, "type": "response.content_part.added"},
        *(_text_delta(text, item_id) for text in texts),
        {**at, "text": "".join(texts), "type": "response.output_text.done"},
        {"response": done, "type": "response.completed"},
    ]
    for sequence_number, event in enumerate(events):
        numbered = {**event, "sequence_number": sequence_number}
        yield _named(dict(sorted(numbered.items())))


def messages_events(texts: list[str], model: str, number: int) -> Iterator[bytes]:
    """Return the events of one message with one text."""
    message = {
        "id": f"chatcmpl-{number:016x}",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 57, "output_tokens": 0},
    }
    block = {"type": "text", "text": ""}
    yield _named({"type": "message_start", "message": message})
    yield _named({"type": "content_block_start", "content_block": block, "index": 0})
    for text in texts:
        delta = {"type": "text_delta", "text": text}
        yield _named({"type": "content_block_delta", "delta": delta, "index": 0})
    yield _named({"type": "content_block_stop", "index": 0})
    end = {"stop_reason": "max_tokens", "stop_sequence": None}
    usage = {"input_tokens": 57, "output_tokens": len(texts)}
    yield _named({"type": "message_delta", "delta": end, "usage": usage})
    yield _named({"type": "message_stop"})


def _text_delta(text: str, item_id: str) -> dict[str, Any]:
    return {
        "content_index": 0,
        "delta": text,
        "item_id": item_id,
        "logprobs": [],
        "output_index": 0,
        "type": "response.output_text.delta",
    }


def _named(event: dict[str, Any]) -> bytes:
    name = event["type"].encode("ascii")
    return b"event: " + name + b"\ndata: " + _encode(event) + b"\n\n"
