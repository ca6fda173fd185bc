"""What may be seen of an answer: the table of ``protocol.md#readable-members`` again.

Written from the page, not from the package's code.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.vllm_integration.asking import Wire
from tests.vllm_integration.shapes import CHAT

_FRAME = re.compile(
    r"sgop1\.(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
)
_TEXT = (str, type(None))
_NUMBER = (int, type(None))
_EVERY_OBJECT = {"id": _TEXT, "object": _TEXT, "created": _NUMBER, "model": _TEXT}
_USAGE = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _NUMBER)
_ROLES = ("system", "developer", "user", "assistant", "tool")


def objects_of(wire: Wire) -> list[dict[str, Any]]:
    """Return the JSON objects that the wire carried: a body, or each event's data."""
    if not wire.headers["content-type"].startswith("text/event-stream"):
        return [json.loads(bytes(wire.body))]
    assert wire.events[-1] == b"[DONE]", wire.events[-1]
    return [json.loads(event) for event in wire.events[:-1]]


def check(envelope: dict[str, Any], path: str, *, streamed: bool) -> int:
    """Assert that only readable members are there; return the number of frames."""
    members = dict(envelope)
    frames = [members.pop("sealed")] if "sealed" in members else []
    if "error" in members:
        error = members.pop("error")
        frames.append(error.pop("message"))
        _check_members(error, {"type": _TEXT, "code": (str, int, type(None))})
    for position, choice in enumerate(members.pop("choices", [])):
        frames += _check_choice(choice, path, position, streamed=streamed)
    usage = members.pop("usage", None)
    if usage is not None:
        _check_members(usage, _USAGE)
    _check_members(members, _EVERY_OBJECT)
    for frame in frames:
        assert _FRAME.fullmatch(frame), f"not a frame: {frame[:80]}"
    return len(frames)


def _check_choice(
    choice: dict[str, Any], path: str, position: int, *, streamed: bool
) -> list[Any]:
    """Check one choice; return the string that has to be a frame, if it is the first."""
    rest = dict(choice)
    assert rest.pop("finish_reason", None) in ("stop", "length", None)
    if path == CHAT:
        message = rest.pop("delta" if streamed else "message")
        carried = [message.pop("content")] if "content" in message else []
        if "role" in message:
            assert message.pop("role") in _ROLES
        assert message == {}, message
        assert len(carried) == (position == 0), choice
    else:
        text = rest.pop("text")
        carried = [text] if position == 0 else []
        assert position == 0 or text == "", choice
    _check_members(rest, {"index": _NUMBER})
    return carried


def _check_members(members: dict[str, Any], types: dict[str, Any]) -> None:
    for name, value in members.items():
        assert name in types, f"{name} is not readable"
        assert isinstance(value, types[name]), f"{name} is {value!r}"
        assert not isinstance(value, bool), f"{name} is {value!r}"
