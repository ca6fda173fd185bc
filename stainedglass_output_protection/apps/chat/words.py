"""The written words in an opened body, of every API that writes some.

Knows the shapes of chat completions, completions, the Responses API and Anthropic's
messages, whole and in events. What it does not know has no words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from stainedglass_output_protection.protocol.encoding import JSON_ERRORS
from stainedglass_output_protection.protocol.events import EventSplitter, event_data

# The engine's own names for what a model thinks before it answers.
_REASONING = ("reasoning", "reasoning_content")


class Words(NamedTuple):
    """A piece of text; ``choice`` is the number of its choice, where several were asked for."""

    text: str
    choice: int = 0
    is_reasoning: bool = False


def words_in_events(body: bytes) -> Iterator[Words]:
    """Yield the words of each event of an opened stream, or of a part of one."""
    splitter = EventSplitter()
    for block in (*splitter.feed(body), *splitter.end()):
        data = event_data(block)
        if data is not None:
            yield from words_in_json(data)


def words_in_json(data: bytes) -> Iterator[Words]:
    """Yield the words of a whole opened body, or of an event's data."""
    try:
        value = msgspec.json.decode(data)
    except JSON_ERRORS:
        return  # [DONE], or what is no answer with words.
    if isinstance(value, dict):
        for part in _parts(value):
            if part.text:
                yield part


def error_in_json(data: bytes) -> str | None:
    """Return the words of an error in a body or an event's data; None if it is none."""
    try:
        value = msgspec.json.decode(data)
    except JSON_ERRORS:
        return None
    if not isinstance(value, dict) or value.get("error") is None:
        return None
    return _text(_object(value, "error"), "message") or "no reason was given."


def _parts(value: dict[str, Any]) -> Iterator[Words]:
    kind = value.get("type")
    if isinstance(kind, str) and kind.startswith("response."):
        yield from _of_a_responses_event(kind, value)
    elif kind == "content_block_delta":
        yield from _of_a_block(_object(value, "delta"))
    elif kind == "content_block_start":
        yield from _of_a_block(_object(value, "content_block"))
    elif kind == "message":
        for block in _objects(value, "content"):
            yield from _of_a_block(block)
    elif value.get("object") == "response":
        for item in _objects(value, "output"):
            for content in _objects(item, "content"):
                is_reasoning = item.get("type") == "reasoning"
                yield Words(_text(content, "text"), is_reasoning=is_reasoning)
    else:
        for choice in _objects(value, "choices"):
            yield from _of_a_choice(choice)


def _of_a_choice(choice: dict[str, Any]) -> Iterator[Words]:
    index = choice.get("index")
    index = index if isinstance(index, int) else 0
    message = _object(choice, "delta") or _object(choice, "message")
    thought = next(filter(None, (_text(message, name) for name in _REASONING)), "")
    yield Words(thought, index, is_reasoning=True)
    yield Words(_text(message, "content") or _text(choice, "text"), index)


def _of_a_responses_event(kind: str, value: dict[str, Any]) -> Iterator[Words]:
    # What ends in .done says the same words once more.
    if kind == "response.output_text.delta":
        yield Words(_text(value, "delta"))
    elif kind.startswith("response.reasoning") and kind.endswith(".delta"):
        yield Words(_text(value, "delta"), is_reasoning=True)


def _of_a_block(block: dict[str, Any]) -> Iterator[Words]:
    yield Words(_text(block, "thinking"), is_reasoning=True)
    yield Words(_text(block, "text"))


def _object(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _objects(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = value.get(name)
    if not isinstance(found, list):
        return []
    return [item for item in found if isinstance(item, dict)]


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""
