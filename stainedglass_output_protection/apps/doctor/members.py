"""What two forms of one answer say of the same members."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stainedglass_output_protection.apps.doctor.observations import Answer
from stainedglass_output_protection.protocol.encoding import JSON_ERRORS

# Readable outside, and a copy of what is sealed.
_COPIED: Final = ("id", "object", "created", "model")
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


def members_of(body: bytes) -> dict[str, Any]:
    """Return a JSON object, or an empty one."""
    try:
        members: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    except JSON_ERRORS:
        return {}
    return members


def _usage(members: dict[str, Any]) -> dict[str, Any]:
    usage = members.get("usage")
    return usage if isinstance(usage, dict) else {}


def prompt_tokens_of(answer: Answer) -> int | None:
    """Return how long the prompt was for the server, by an opened whole answer."""
    if not answer.is_opened:
        return None
    count = _usage(members_of(answer.body)).get("prompt_tokens")
    return count if isinstance(count, int) else None


def changed_members(outer: bytes, inner: bytes) -> list[str]:
    """Return the names of readable members that differ from what was sealed."""
    out, sealed = members_of(outer), members_of(inner)
    names: list[str] = [
        it for it in _COPIED if it in sealed and out.get(it) != sealed[it]
    ]
    counts, sealed_counts = _usage(out), _usage(sealed)
    if any(
        it in sealed_counts and counts.get(it) != sealed_counts[it] for it in _COUNTS
    ):
        names.append("usage")
    return names


def is_written_anew(body: bytes) -> bool:
    """Tell whether JSON of our server's, which is compact, has another form now."""
    try:
        return msgspec.json.encode(msgspec.json.decode(body)) != body
    except JSON_ERRORS:
        return False
