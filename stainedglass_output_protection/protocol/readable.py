"""The readable members, with their types (``protocol.md#readable-members``).

Decoding into types is the filter: a member that is not declared cannot reach an
envelope, at any depth. Widening one of them is a change of the specification.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from stainedglass_output_protection.protocol.constants import TEXT_PREFIX
from stainedglass_output_protection.protocol.encoding import (
    JSON_ERRORS,
    first_frame_text,
)

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})

Text = str | UnsetType | None
Number = int | UnsetType | None

# ``gc=False`` below: made for every event that is parsed, and never part of a cycle.


class Usage(Struct, gc=False):
    """Token counts. ``cached_tokens`` and other details are not readable."""

    prompt_tokens: Number = UNSET
    total_tokens: Number = UNSET
    completion_tokens: Number = UNSET
    input_tokens: Number = UNSET
    output_tokens: Number = UNSET


class ErrorInfo(Struct, gc=False):
    """An error's type and code."""

    type: Text = UNSET
    code: str | int | UnsetType | None = UNSET


class Common(Struct, gc=False):
    """What stays readable of every object, and of every error."""

    id: Text = UNSET
    object: Text = UNSET
    created: Number = UNSET
    created_at: Number = UNSET
    model: Text = UNSET
    type: Text = UNSET
    usage: Usage | UnsetType | None = UNSET
    kv_transfer_params: Raw | UnsetType = UNSET
    error: ErrorInfo | UnsetType | None = UNSET


Members = TypeVar("Members", bound=Struct)


def reader(members: type[Members]) -> msgspec.json.Decoder[Members]:
    """Return a decoder for ``read``."""
    return msgspec.json.Decoder(members)


def read(decoder: msgspec.json.Decoder[Members], body: bytes) -> Members | None:
    """Return the readable members of a JSON object; None if they have other types."""
    try:
        return decoder.decode(body)
    except JSON_ERRORS:
        return None


def present(**members: Any) -> dict[str, Any]:
    """Return the members that are set and cannot be taken for a frame."""
    return {
        name: value
        for name, value in members.items()
        if value is not UNSET
        and not (isinstance(value, str) and value.startswith(TEXT_PREFIX))
    }


def shown_role(role: Text) -> Text:
    """Return the role if it is a known one."""
    return role if role in _ROLES else UNSET


def shown_finish_reason(reason: Text) -> Text:
    """Return ``stop``, ``length``, null or nothing: why it stopped may be telling."""
    return reason if reason in ("length", None, UNSET) else "stop"


def shown_usage(usage: Usage | None) -> dict[str, Any] | None:
    """Return the token counts that are set."""
    if usage is None:
        return None
    return present(
        prompt_tokens=usage.prompt_tokens,
        total_tokens=usage.total_tokens,
        completion_tokens=usage.completion_tokens,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
    )


def transfer_members(common: Common, *, is_shown: bool) -> dict[str, Any]:
    """Return what a router hands from one disaggregated server to the next, if shown."""
    if not is_shown or common.kv_transfer_params is UNSET:
        return {}
    try:
        params = msgspec.json.decode(common.kv_transfer_params)
    except JSON_ERRORS:
        return {}
    return {} if first_frame_text(params) else {"kv_transfer_params": params}


def error_members(error: ErrorInfo, carrier: str) -> dict[str, Any]:
    """Return an error's members with the frame in place of its message."""
    return {"message": carrier, **present(type=error.type, code=error.code)}
