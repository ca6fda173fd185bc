"""What the application behind a protected server answers, in events of one kind."""

from __future__ import annotations

import json
from typing import Any

from tests.client.fake_server import DONE, EVENTS, MODELS, Received, Wire
from tests.client.sealed_server import SealedServer

JSON = "application/json"


def delta_event(**delta: Any) -> bytes:
    """One event of a streamed chat."""
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    event = {"object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def answering(*events: bytes) -> SealedServer:
    """A protected server whose every answer is these events."""
    server = SealedServer()

    def answer(call: Received) -> Wire:
        if call.path.endswith("/models"):
            return Wire(200, {"content-type": JSON}, [MODELS])
        return Wire(200, {"content-type": EVENTS}, [*events, DONE])

    server.app.answer = answer
    return server


def asked_messages(server: SealedServer) -> list[list[dict[str, str]]]:
    """The messages of every chat that the application was asked."""
    return [call.asked["messages"] for call in server.app.calls if call.body]
