"""An engine that costs nothing: its answers are known to who knows the question's number.

It serves chats and completions as an ASGI application without a router, and counts their
tokens as engines do. What a request holds back goes on once the file is there that the
variable ``ENGINE_GOES_ON_FILE`` names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MODEL = "tiny"
# One of the words that tests search the wire for.
CANARY = "Brannaquist"
# Said before a long answer: by whom, and then nothing until the file is there.
HELD = "Take your time"
GOES_ON_VARIABLE = "ENGINE_GOES_ON_FILE"
PROMPT_TOKENS = 7
_POLL_S = 0.02
_NUMBER = re.compile(r"number (\d+)")


def question(number: int, *, is_held: bool = False) -> str:
    """Return the question with this number."""
    return f"{HELD}: " * is_held + f"who keeps number {number}?"


def pieces(number: int) -> list[str]:
    """Return what is said to it, by the piece."""
    return [CANARY, " keeps", f" number {number}", f", and {number * 7919} keys", "."]


def text(number: int) -> str:
    """Return the whole answer."""
    return "".join(pieces(number))


class Engine:
    """The application. It has no lifespan."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        path = scope["path"]
        if scope["method"] == "GET":
            await _whole(send, 200, {"object": "list", "data": [_card()]})
            return
        asked = _parsed(await _read(receive), path)
        if asked is None:
            status = 400 if path in (CHAT, COMPLETIONS) else 404
            error = {"message": "Not a question.", "type": "bad", "code": status}
            await _whole(send, status, {"error": error})
            return
        said, is_stream = asked
        found = _NUMBER.search(said)
        parts = pieces(int(found[1]) if found else 0)
        is_held = HELD in said
        if is_stream:
            # Of a stream that is held, a test has to know whose it is.
            parts = [f"[{os.getpid()}] "] * is_held + parts
            await _streamed(send, _events(parts, path == CHAT, is_held=is_held))
            return
        if is_held:
            await _held()
        await _whole(send, 200, _answer(parts, path == CHAT))


async def _events(
    parts: list[str], is_chat: bool, *, is_held: bool
) -> AsyncIterator[bytes]:
    head = _head(is_chat)
    head["object"] = f"{head['object']}.chunk" if is_chat else head["object"]
    for at, part in enumerate(parts):
        if is_held and at == 2:
            await _held()
        yield _event({**head, "choices": [_choice(is_chat, "delta", part, None)]})
    yield _event({**head, "choices": [_choice(is_chat, "delta", "", "stop")]})
    yield _event({**head, "choices": [], "usage": _usage(len(parts))})
    yield b"data: [DONE]\n\n"


async def _held() -> None:
    print("held", flush=True)  # Tests wait for that in the log.
    goes_on = Path(os.environ[GOES_ON_VARIABLE])
    while not goes_on.exists():
        await asyncio.sleep(_POLL_S)


def _parsed(body: bytes, path: str) -> tuple[str, bool] | None:
    """Return the question, and if a stream is asked for; None if it is no question."""
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        asked = json.loads(body)
        if path == CHAT:
            said = asked["messages"][-1]["content"]
        else:
            said = asked["prompt"] if path == COMPLETIONS else None
        if isinstance(said, str):
            return said, asked.get("stream") is True
    return None


def _answer(parts: list[str], is_chat: bool) -> dict[str, Any]:
    choice = _choice(is_chat, "message", "".join(parts), "stop")
    return {**_head(is_chat), "choices": [choice], "usage": _usage(len(parts))}


def _head(is_chat: bool) -> dict[str, Any]:
    kind = "chat.completion" if is_chat else "text_completion"
    return {"id": "it-1", "object": kind, "created": 1, "model": MODEL}


def _card() -> dict[str, Any]:
    return {"id": MODEL, "object": "model", "created": 1, "owned_by": "nobody"}


def _choice(is_chat: bool, member: str, said: str, reason: str | None) -> Any:
    words = {member: {"role": "assistant", "content": said}} if is_chat else {}
    return {
        "index": 0,
        **(words or {"text": said}),
        "logprobs": None,
        "finish_reason": reason,
    }


def _usage(tokens: int) -> dict[str, int]:
    total = PROMPT_TOKENS + tokens
    named = ("prompt_tokens", "completion_tokens", "total_tokens")
    return dict(zip(named, (PROMPT_TOKENS, tokens, total), strict=True))


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


async def _read(receive: Any) -> bytes:
    body, has_more = b"", True
    while has_more:
        message = await receive()
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
    return body


async def _whole(send: Any, status: int, value: dict[str, Any]) -> None:
    await _start(send, status, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def _streamed(send: Any, events: AsyncIterator[bytes]) -> None:
    await _start(send, 200, b"text/event-stream; charset=utf-8")
    async for event in events:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _start(send: Any, status: int, content_type: bytes) -> None:
    headers = [(b"content-type", content_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
