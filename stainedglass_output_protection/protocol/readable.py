"""The readable members, with their types (``protocol.md#readable-members``).

Decoding into these types is the filter: a member that is not declared here cannot
reach an envelope, at any depth. Widening one of them is a change of the specification.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stainedglass_output_protection.protocol.encoding import JSON_ERRORS

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})

Text = str | UnsetType | None
Number = int | UnsetType | None


class Usage(Struct):
    """Token counts. ``cached_tokens`` and other details are not readable."""

    prompt_tokens: Number = UNSET
    total_tokens: Number = UNSET
    completion_tokens: Number = UNSET


class Message(Struct):
    """A chat message or delta."""

    role: Text = UNSET


class Choice(Struct):
    """A choice of a chat completion or a completion, unary or streamed."""

    index: Number = UNSET
    delta: Message | UnsetType | None = UNSET
    message: Message | UnsetType | None = UNSET
    finish_reason: Text = UNSET


class ErrorInfo(Struct):
    """An error's type and code."""

    type: Text = UNSET
    code: str | int | UnsetType | None = UNSET


class Readable(Struct):
    """What stays readable of any body or event."""

    id: Text = UNSET
    object: Text = UNSET
    created: Number = UNSET
    model: Text = UNSET
    choices: list[Choice] | UnsetType = UNSET
    usage: Usage | UnsetType | None = UNSET
    error: ErrorInfo | UnsetType = UNSET


_decoder = msgspec.json.Decoder(Readable)


def read(body: bytes) -> Readable:
    """Return the readable members of a JSON object; none if they have other types."""
    try:
        return _decoder.decode(body)
    except JSON_ERRORS:
        return Readable()


def shown_role(role: Text) -> Text:
    """Return the role if it is a known one."""
    return role if role in _ROLES else UNSET


def shown_finish_reason(reason: Text) -> Text:
    """Return ``stop``, ``length``, null or nothing: why it stopped may be telling."""
    return reason if reason in ("length", None, UNSET) else "stop"


def present(**members: Any) -> dict[str, Any]:
    """Return the members that are set."""
    return {name: value for name, value in members.items() if value is not UNSET}
