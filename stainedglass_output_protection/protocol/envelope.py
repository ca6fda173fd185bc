"""The clear envelope around one frame: what gateways see in place of a body or event.

Specification: ``protocol.md#container-fields``. An envelope is rendered once with a
placeholder for the frame and is then two constant byte strings.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from stainedglass_output_protection.protocol.readable import (
    Choice,
    Message,
    Number,
    Readable,
    Text,
    Usage,
    present,
    read,
    shown_finish_reason,
    shown_role,
)

# Unguessable, so that no readable member can hold it.
_PLACEHOLDER = f"{secrets.token_hex(16)}"
_PLACEHOLDER_BYTES = _PLACEHOLDER.encode("ascii")
_FINISH_WIDTH = len('"length"')
_COUNT_WIDTH = 7
_EVENT_START = b"data: "
_EVENT_END = b"\n\n"
_TAIL = b"}" + _EVENT_END
_USAGE_END = (
    b',"usage":{"prompt_tokens":%7d,"total_tokens":%7d,"completion_tokens":%7d}' + _TAIL
)

_encode = msgspec.json.Encoder().encode


class Envelope(NamedTuple):
    """The bytes before and after the frame's text. ``after`` is None without room."""

    before: bytes
    after: bytes | None

    def around(self, frame_text: bytes) -> bytes:
        """Return the envelope with a frame in it. It must have room."""
        return self.before + frame_text + (self.after or b"")


def body_envelope(body: bytes, route_name: str) -> Envelope:
    """Return the envelope of a unary body. It always has room."""
    envelope = _render(read(body), route_name, padded=False)
    return envelope if envelope.after is not None else _sealed_member(body)


def event_envelope(readable: Readable, route_name: str) -> Envelope:
    """Return the envelope of one event, without its ``usage``, as an event."""
    if readable.choices is UNSET and readable.error is UNSET:
        return SEALED_EVENT
    rendered = _render(readable, route_name, padded=True)
    after = None if rendered.after is None else rendered.after + _EVENT_END
    before = rendered.before + (_EVENT_END if after is None else b"")
    return Envelope(_EVENT_START + before, after)


def with_usage(envelope: Envelope, usage: Usage | None) -> Envelope:
    """Return the envelope of an event with ``usage`` added: it changes every time."""
    counts = usage and (
        usage.prompt_tokens,
        usage.total_tokens,
        usage.completion_tokens,
    )
    if counts and all(type(count) is int for count in counts):
        end = _USAGE_END % counts
    else:
        end = b',"usage":' + _encode(_usage(usage, padded=True)) + _TAIL
    before, after = envelope
    if after is None:
        return Envelope(before[: -len(_TAIL)] + end, None)
    return Envelope(before, after[: -len(_TAIL)] + end)


def final_envelope(latest: Readable, route_name: str) -> Envelope:
    """Return the envelope of the final event, in the shape of the latest one."""
    if latest.choices is UNSET:
        return SEALED_EVENT
    message = Message() if route_name == "chat" else UNSET
    final = Readable(
        id=latest.id,
        object=latest.object,
        created=latest.created,
        model=latest.model,
        choices=[Choice(index=0, delta=message, finish_reason=None)],
    )
    return event_envelope(final, route_name)


def _render(
    readable: Readable,
    route_name: str,
    *,
    padded: bool,
) -> Envelope:
    members = present(
        id=readable.id,
        object=readable.object,
        created=readable.created,
        model=readable.model,
    )
    carrier: str | None = _PLACEHOLDER
    if readable.error is not UNSET:
        error = present(type=readable.error.type, code=readable.error.code)
        members["error"] = {"message": carrier, **error}
        carrier = None
    if readable.choices is not UNSET:
        choices: list[dict[str, Any]] = []
        for choice in readable.choices:
            choices.append(_choice(choice, route_name, carrier, padded=padded))
            carrier = None
        members["choices"] = choices
    if readable.usage is not UNSET:
        members["usage"] = _usage(readable.usage, padded=padded)
    before, found, after = _encode(members).partition(_PLACEHOLDER_BYTES)
    return Envelope(before, after if found else None)


def _choice(
    choice: Choice, route_name: str, carrier: str | None, *, padded: bool
) -> dict[str, Any]:
    members = present(index=choice.index)
    if route_name == "completions":
        members["text"] = carrier or ""
    elif choice.message is not UNSET:
        members["message"] = _message(choice.message, carrier)
    else:
        members["delta"] = _message(choice.delta, carrier)
    if choice.finish_reason is not UNSET:
        members["finish_reason"] = _finish(choice.finish_reason, padded=padded)
    return members


def _message(message: Any, carrier: str | None) -> dict[str, Any]:
    role = shown_role(message.role) if isinstance(message, Message) else UNSET
    return present(role=role, content=carrier if carrier is not None else UNSET)


def _finish(reason: Text, *, padded: bool) -> Any:
    shown = shown_finish_reason(reason)
    return Raw(_encode(shown).rjust(_FINISH_WIDTH)) if padded else shown


def _usage(usage: Usage | None, *, padded: bool) -> Any:
    if usage is None:
        return None
    return present(
        prompt_tokens=_count(usage.prompt_tokens, padded=padded),
        total_tokens=_count(usage.total_tokens, padded=padded),
        completion_tokens=_count(usage.completion_tokens, padded=padded),
    )


def _count(number: Number, *, padded: bool) -> Any:
    if padded and number is not UNSET:
        return Raw(_encode(number).rjust(_COUNT_WIDTH))
    return number


def _sealed_member(body: bytes) -> Envelope:
    members = read(body)
    shown = present(
        id=members.id,
        object=members.object,
        created=members.created,
        model=members.model,
    )
    usage = (
        {} if members.usage is UNSET else {"usage": _usage(members.usage, padded=False)}
    )
    choices: dict[str, Any] = {} if members.choices is UNSET else {"choices": []}
    rendered = _encode({**shown, **choices, **usage, "sealed": _PLACEHOLDER})
    before, _, after = rendered.partition(_PLACEHOLDER_BYTES)
    return Envelope(before, after)


SEALED_EVENT = Envelope(b'data: {"sealed":"', b'"}\n\n')
