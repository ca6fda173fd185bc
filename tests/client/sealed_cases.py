"""Sealed requests of every kind: what is asked, what must be seen of it, and answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.client.fake_server import EVENTS, JSON, FakeServer, Wire
from tests.protocol.answers import (
    BODIES,
    RESPONSE,
    chat_events,
    completion_events,
    messages_events,
    named_event,
)
from tests.protocol.answers import CANARY as ANSWERED

ASKED = "quixotic-vermilion"
TEXT = "TEXT"


@dataclass(frozen=True)
class Case:
    """A request with a JSON body. ``outer`` is the body around its text.

    ``added`` are the members that the server adds, in their order.
    """

    name: str
    path: str
    body: dict[str, Any]
    outer: dict[str, Any]
    added: tuple[str, ...] = ("cache_salt",)

    @property
    def content(self) -> bytes:
        """The body as no other encoder would write it, without white space outside."""
        members = [f'"{name}":{json.dumps(self.body[name])}' for name in self.body]
        odd = r'"odd":{"half" : 1.50, "big":12345678901234567890123, "text":"\u00fc\/"}'
        return ("{" + ",".join([*members, odd]) + "}").encode()

    def answer(self) -> Wire:
        """What the application answers with."""
        body = json.dumps(BODIES[self.name][1]).encode()
        return Wire(200, {"content-type": JSON}, [body])


MESSAGES = [{"role": "user", "content": ASKED}]
SHOWN = {"model": "m", "stream": False}
IN_MESSAGES = {"messages": [{"role": "user", "content": TEXT}]}
_CHAT = {**SHOWN, "messages": MESSAGES, "tools": [{"name": ASKED}], "user": ASKED}

CASES = [
    Case("chat", "/v1/chat/completions", _CHAT, {**SHOWN, **IN_MESSAGES}),
    Case(
        "completions",
        "/v1/completions",
        {**SHOWN, "prompt": ASKED, "suffix": ASKED},
        {**SHOWN, "prompt": TEXT},
    ),
    Case(
        "responses",
        "/v1/responses",
        {**SHOWN, "input": ASKED, "instructions": ASKED},
        {**SHOWN, "input": TEXT},
        added=("cache_salt", "request_id"),
    ),
    Case(
        "messages",
        "/v1/messages",
        {**SHOWN, "messages": MESSAGES, "max_tokens": 777, "system": ASKED},
        {**SHOWN, **IN_MESSAGES, "max_tokens": 1},
    ),
    Case(
        "count",
        "/v1/messages/count_tokens",
        {"model": "m", "messages": MESSAGES, "system": ASKED},
        {"model": "m", **IN_MESSAGES},
        added=(),
    ),
    Case(
        "embeddings",
        "/v1/embeddings",
        {"model": "m", "input": [ASKED, ASKED]},
        {"model": "m", "input": TEXT},
    ),
    Case(
        "rerank",
        "/v2/rerank",
        {"model": "m", "query": ASKED, "documents": [ASKED]},
        {"model": "m", "query": TEXT, "documents": [""]},
    ),
    Case(
        "tokenize",
        "/tokenize",
        {"model": "m", "prompt": ASKED},
        {"model": "m", "sealed": TEXT},
        added=(),
    ),
    Case(
        "detokenize",
        "/detokenize",
        {"tokens": [424_242_424]},
        {"sealed": TEXT},
        added=(),
    ),
]

_RESPONSE = {**RESPONSE, "status": "in_progress", "output": []}
RESPONSES_EVENTS = [
    named_event({"type": "response.created", "response": _RESPONSE}),
    *(
        named_event(
            {
                "type": "response.output_text.delta",
                "sequence_number": number,
                "item_id": ANSWERED,
                "output_index": 0,
                "content_index": 0,
                "delta": ANSWERED,
            }
        )
        for number in range(1, 4)
    ),
    named_event({"type": "response.completed", "response": RESPONSE}),
]
# By path: the events of a streamed answer.
STREAMS: dict[str, Callable[[], list[bytes]]] = {
    "/v1/chat/completions": chat_events,
    "/v1/completions": completion_events,
    "/v1/responses": lambda: RESPONSES_EVENTS,
    "/v1/messages": messages_events,
}


def streamed_answer(path: str) -> Wire:
    """What the application streams on a route."""
    return Wire(200, {"content-type": EVENTS}, STREAMS[path]())


def forms(word: str) -> set[bytes]:
    """Return a word as it could stand in something that hides it badly."""
    plain = word.encode()
    found = {plain, plain.hex().encode(), plain[::-1], plain.upper()}
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + plain + bytes(3))
        found |= {encoded[4:-8], encoded[4:-8].replace(b"/", b"_").replace(b"+", b"-")}
    # Shorter ones are there by chance.
    return {form for form in found if len(form) >= 9}


def is_seen(server: FakeServer, *words: str) -> bool:
    """Tell whether the network saw any of the words, in a request or an answer."""
    raw = [it.raw for it in server.received] + [it.raw for it in server.sent]
    seen = b"\n".join(raw)
    frames = b"".join(
        base64.b64decode(text.partition(b".")[2])
        for text in seen.replace(b'"', b" ").split()
        if text.startswith((b"sgop1.", b"sgop1-request.", b"sgop1-keys."))
    )
    return any(form in seen + frames for word in words for form in forms(word))
