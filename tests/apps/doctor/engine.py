"""A model's server to examine: answers as vLLM does, on the routes that a doctor asks."""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from typing import Any

from tests.client.fake_server import (
    DONE,
    EVENTS,
    JSON,
    MODELS,
    Received,
    Wire,
    chat_body,
    chat_event,
    error_body,
)
from tests.client.sealed_server import Application


class Engine(Application):
    """What is protected. Its words are as many as were asked for.

    ``pace_s`` is the time between two events of a long stream, ``api_key`` one that it
    wants, ``ahead_s`` how far its clock is ahead. ``prints_input`` is how older releases
    of vLLM refuse a request: newer ones count what they have got.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answer = self.say
        self.pace_s = 0.0
        self.ahead_s = 0.0
        self.api_key: str | None = None
        self.prints_input = False

    def say(self, call: Received) -> Wire:
        wire = self._said(call)
        now = time.time() + self.ahead_s
        wire.headers["date"] = email.utils.formatdate(now, usegmt=True)
        return wire

    def _said(self, call: Received) -> Wire:
        wanted = [f"Bearer {self.api_key}"] if self.api_key else []
        if wanted and call.values("authorization") != wanted:
            return Wire(401, {"content-type": JSON}, [error_body("Unauthorized", 401)])
        if call.path.endswith("/v1/models"):
            return Wire(200, {"content-type": JSON}, [MODELS])
        asked = call.asked
        if asked.get("model", "tiny") == "none":
            return Wire(404, {"content-type": JSON}, [error_body("no model", 404)])
        if call.path.endswith("/chat/completions") and "messages" not in asked:
            refusal = refusal_of(asked, prints_input=self.prints_input)
            return Wire(400, {"content-type": JSON}, [error_body(refusal)])
        if asked.get("temperature", 0) < 0:
            return Wire(400, {"content-type": JSON}, [error_body("temperature")])
        if not asked.get("stream"):
            body = json.loads(chat_body())
            words = json.dumps(asked.get("messages", "")).split()
            body["usage"]["prompt_tokens"] = len(words)
            return Wire(200, {"content-type": JSON}, [json.dumps(body).encode()])
        if call.path.endswith("/v1/messages"):
            return Wire(200, {"content-type": EVENTS}, named_events())
        events = [chat_event(f"{number} ") for number in range(asked["max_tokens"])]
        usage = {**json.loads(chat_event("")[6:]), "choices": []}
        usage["usage"] = {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1}
        events.append(b"data: " + json.dumps(usage).encode() + b"\n\n")
        return Wire(200, {"content-type": EVENTS}, [*events, DONE])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def paced(message: Any) -> None:
            await send(message)
            if message.get("more_body") and self.pace_s:
                await asyncio.sleep(self.pace_s)

        await super().__call__(scope, receive, paced)


def refusal_of(asked: dict[str, Any], *, prints_input: bool) -> str:
    """Return the words in which vLLM refuses a request without messages.

    Copied from release 0.32, and from 0.26 if it ``prints_input``.
    """

    def line(kind: str, name: str, says: str, got: Any) -> str:
        where: Any = ("body", name) if prints_input else f"body.{name}"
        return f"  { ({'type': kind, 'loc': where, 'msg': says, 'input': got}) }\n"

    got = asked if prints_input else f"<dict of {len(asked)} items>"
    lines = [line("missing", "messages", "Field required", got)]
    name = "truncate_prompt_tokens"
    if (number := asked.get(name)) is not None:
        says = "Input should be greater than or equal to -1"
        got = number if prints_input else str(number)
        lines.append(line("greater_than_equal", name, says, got))
    return f"{len(lines)} validation errors:\n{''.join(lines).rstrip()}"


def named_events() -> list[bytes]:
    """Return a stream of the ``messages`` route."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    delta = {"type": "text_delta", "text": "one"}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    return [
        f"event: {it['type']}\ndata: {json.dumps(it)}\n\n".encode() for it in events
    ]
