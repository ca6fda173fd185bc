"""Server-sent events as vLLM 0.32 emits them, byte for byte in their members' order.

Its models are dumped with ``exclude_unset``: what it sets to None itself (``logprobs``,
``finish_reason``, ``token_ids``) is there as null, the rest is not.
"""

from __future__ import annotations

import codecs
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks.named_events import messages_events, responses_events
from benchmarks.tokens import chat_logprobs, completion_logprobs, vocabulary

MODEL = "Qwen/Qwen3-8B"
DONE = b"data: [DONE]\n\n"
_PROMPT_TOKENS = 57
_DELTAS = (b"event: response.output_text.delta\n", b"event: content_block_delta\n")
_encode = msgspec.json.Encoder().encode


_PATHS = {
    "text": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
_NAMED = {"responses": responses_events, "messages": messages_events}


@dataclass(frozen=True)
class Shape:
    """A kind of request, so a kind of stream.

    ``member`` is where the tokens go: ``content``, ``reasoning``, ``tools`` or, in
    completions, ``text``; or the API with named events, ``responses`` or ``messages``.
    ``logprobs`` is the number of alternatives, None for off.
    """

    name: str
    member: str = "content"
    logprobs: int | None = None
    include_usage: bool = False
    continuous_usage: bool = False
    choices: int = 1
    model: str = MODEL
    is_opaque: bool = False

    @property
    def is_chat(self) -> bool:
        """Whether it is a stream of the chat route."""
        return self.path == "/v1/chat/completions"

    @property
    def path(self) -> str:
        """The route that sends it."""
        return _PATHS.get(self.member, "/v1/chat/completions")


SHAPES = (
    Shape("content"),
    Shape("reasoning", "reasoning"),
    Shape("tools", "tools"),
    Shape("logprobs 0", logprobs=0),
    Shape("logprobs 5", logprobs=5),
    Shape("logprobs 20", logprobs=20),
    Shape("usage", include_usage=True),
    Shape("continuous usage", include_usage=True, continuous_usage=True),
    Shape("n=2", choices=2),
    Shape("completions", "text"),
    Shape("completions, logprobs 5", "text", logprobs=5),
    Shape("responses", "responses"),
    Shape("messages", "messages"),
    Shape("opaque", is_opaque=True),
    Shape("opaque responses", "responses", is_opaque=True),
)


@dataclass(frozen=True)
class Event:
    """One event and the tokens that it carries; none in roles, usage and the end."""

    data: bytes
    tokens: tuple[int, ...] = ()


class Stream:
    """Writes the events of one response of a shape."""

    def __init__(self, shape: Shape, source: random.Random) -> None:
        self._shape = shape
        self._source = source
        self._id = (
            f"{'chatcmpl' if shape.is_chat else 'cmpl'}-{source.getrandbits(64):016x}"
        )
        self._counts = [0] * shape.choices
        self._offsets = [0] * shape.choices
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = [decoder("replace") for _ in range(shape.choices)]

    def events(self, groups: list[list[int]]) -> Iterator[Event]:
        """Return all events; choices take turns, each with one group of tokens."""
        shape = self._shape
        if shape.member in _NAMED:
            yield from self._named(groups)
            return
        if shape.is_chat:
            for index in range(shape.choices):
                delta = {"role": "assistant", "content": ""}
                choice = {"index": index, "delta": delta, "logprobs": None}
                yield self._event({**choice, "finish_reason": None}, index)
        for number, group in enumerate(groups):
            index = number % shape.choices
            is_last = number >= len(groups) - shape.choices
            yield self._tokens(index, group, is_last=is_last)
        if shape.include_usage:
            usage = {"usage": _usage(sum(self._counts))}
            yield Event(_framed({**self._members(), "choices": [], **usage}))
        yield Event(DONE)

    def _named(self, groups: list[list[int]]) -> Iterator[Event]:
        """Return the events of an API that names them; its deltas have the tokens."""
        texts = [self._text(0, group) for group in groups]
        number = self._source.getrandbits(64)
        events = list(_NAMED[self._shape.member](texts, self._shape.model, number))
        deltas = iter(groups)
        for event in events:
            is_delta = event.startswith(_DELTAS)
            yield Event(event, tuple(next(deltas)) if is_delta else ())

    def _text(self, index: int, group: list[int]) -> str:
        pieces = b"".join(vocabulary().piece(token) for token in group)
        return self._decoders[index].decode(pieces)

    def _tokens(self, index: int, group: list[int], *, is_last: bool) -> Event:
        shape = self._shape
        is_first = self._counts[index] == 0
        self._counts[index] += len(group)
        text = self._text(index, group)
        ending: dict[str, Any] = {"finish_reason": "length" if is_last else None}
        if is_last or not shape.is_chat:
            ending["stop_reason"] = None
        if not shape.is_chat:
            ending["prompt_token_ids"] = None
        carrier: dict[str, Any] = {"delta": self._delta(text, is_first)}
        if not shape.is_chat:
            carrier = {"text": text}
        choice = {
            "index": index,
            **carrier,
            "logprobs": self._logprobs(index, group),
            **ending,
            "token_ids": None,
        }
        return self._event(choice, index, tuple(group))

    def _delta(self, text: str, is_first: bool) -> dict[str, Any]:
        if self._shape.member != "tools":
            return {self._shape.member: text}
        if not is_first:
            return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
        start = {"id": f"chatcmpl-tool-{self._source.getrandbits(64):016x}"}
        function = {"name": "get_current_weather", "arguments": ""}
        call = {**start, "type": "function", "index": 0, "function": function}
        return {"tool_calls": [call]}

    def _logprobs(self, index: int, group: list[int]) -> dict[str, Any] | None:
        shape = self._shape
        if shape.logprobs is None:
            return None
        if shape.is_chat:
            return chat_logprobs(group, shape.logprobs, self._source)
        offset = self._offsets[index]
        self._offsets[index] += sum(len(vocabulary().text(token)) for token in group)
        return completion_logprobs(group, shape.logprobs, self._source, offset)

    def _members(self) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._shape.is_chat else "text_completion"
        model = self._shape.model
        return {"id": self._id, "object": kind, "created": 1790000000, "model": model}

    def _event(
        self, choice: dict[str, Any], index: int, tokens: tuple[int, ...] = ()
    ) -> Event:
        chunk = {**self._members(), "choices": [choice]}
        if self._shape.continuous_usage:
            usage = _usage(self._counts[index])
            details = {"completion_tokens_details": None}
            chunk["usage"] = {**usage, **details} if self._shape.is_chat else usage
        if not tokens:
            chunk.update(prompt_token_ids=None, prompt_text=None)
        return Event(_framed(chunk), tokens)


def _usage(count: int) -> dict[str, int]:
    prompt = _PROMPT_TOKENS
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + count,
        "completion_tokens": count,
    }


def _framed(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"
