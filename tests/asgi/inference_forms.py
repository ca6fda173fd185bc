"""The forms that EasyDeL gives to chats, responses, errors and events."""

from __future__ import annotations

import json
from typing import Any

from tests.asgi.applications import CANARY, PIECES, answer, event
from tests.asgi.scripted_engine import CALL, CALLING, FAILURE, THINKING


def chat_of(prompt: str) -> dict[str, Any]:
    """Return a whole chat completion."""
    whole = answer()
    message = whole["choices"][0]["message"]
    if prompt == THINKING:
        message["reasoning_content"] = CANARY
    if prompt == CALLING:
        message |= {"content": None, "tool_calls": [CALL]}
        whole["choices"][0]["finish_reason"] = "tool_calls"
    return whole


def chat_end_of(prompt: str) -> str:
    """Return what ends the events of a chat."""
    choice = chat_of(prompt)["choices"][0]
    delta = {**choice["message"], "content": ""}
    if prompt == CALLING:
        delta["tool_calls"] = [{**CALL, "index": 0}]
    told = event("", delta=delta, finish_reason=choice["finish_reason"])
    return data_event(told) + "data: [DONE]\n\n"


def response_of(prompt: str) -> dict[str, Any]:
    """Return a whole response."""
    part = {"type": "output_text", "text": "".join(PIECES), "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": [part]}
    summary = [{"type": "summary_text", "text": CANARY}]
    thought = {"id": "rs_1", "type": "reasoning", "summary": summary}
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", **CALL["function"]}
    output = {THINKING: [thought, item], CALLING: [call]}.get(prompt, [item])
    return {"id": "resp_1", "object": "response", "model": "m", "output": output}


def delta_of(piece: str) -> str:
    """Return the event of a response that adds ``piece``."""
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return named_event({"type": "response.output_text.delta", **where, "delta": piece})


def error_body() -> dict[str, Any]:
    """Return what it answers when the engine fails."""
    error = {"message": FAILURE, "type": "INTERNAL_SERVER_ERROR"}
    return {"error": error, "request_id": "1", "timestamp": 1.0}


def named_event(told: dict[str, Any]) -> str:
    """Return an event that is named by its type."""
    return f"event: {told['type']}\n" + data_event(json.dumps(told).encode())


def data_event(told: bytes) -> str:
    """Return an event without a name."""
    return f"data: {told.decode()}\n\n"
