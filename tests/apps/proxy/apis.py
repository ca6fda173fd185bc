"""What the server behind the proxy says, on the routes of each API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.client.fake_server import ANSWER, EVENTS, JSON, TOKENS, Received, Wire
from tests.client.sealed_cases import RESPONSES_EVENTS
from tests.client.sealed_server import SealedServer, plain_answer
from tests.protocol.answers import RESPONSE, named_event

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
PATHS = [CHAT, MESSAGES, RESPONSES]
ASKED: dict[str, Any] = {
    "model": "tiny",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Where to?"}],
    "input": "Where to?",
}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "tiny",
    "content": [{"type": "text", "text": ANSWER}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 2},
}


def api_answer(call: Received) -> Wire:
    """Answer as the API of the route does."""
    if call.path == MESSAGES:
        whole, events = json.dumps(_MESSAGE).encode(), _message_events()
    elif call.path == RESPONSES:
        whole, events = json.dumps(RESPONSE).encode(), RESPONSES_EVENTS
    else:
        return plain_answer(call)
    if call.asked.get("stream"):
        return Wire(200, {"content-type": EVENTS}, list(events))
    return Wire(200, {"content-type": JSON}, [whole])


def expected_body(path: str, **asked: Any) -> bytes:
    """Return the body that an unprotected server would answer with."""
    call = Received("POST", path, [], json.dumps({**ASKED, **asked}).encode())
    return api_answer(call).body


def speaking(server: SealedServer) -> SealedServer:
    """Make the application behind ``server`` speak all APIs."""
    server.app.answer = api_answer
    return server


def answering_with(*parts: bytes, content_type: str = EVENTS) -> Callable[..., Wire]:
    """Return an application's answer of these parts."""
    return lambda call: Wire(200, {"content-type": content_type}, list(parts))


def _message_events() -> list[bytes]:
    start = {**_MESSAGE, "content": [], "stop_reason": None}
    text = {"type": "text", "text": ""}
    deltas = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": token},
        }
        for token in TOKENS
    ]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": text},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ]
    return [named_event(event) for event in events]
