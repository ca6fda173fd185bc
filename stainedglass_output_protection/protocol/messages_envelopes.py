"""Envelopes of Anthropic's Messages API, unary and streamed with ``event:`` lines."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from stainedglass_output_protection.protocol.envelope import (
    CARRIER,
    SEALED_EVENT,
    Envelope,
    apart,
    body_of,
    event_of,
    padded,
)
from stainedglass_output_protection.protocol.plain_envelopes import PlainEnvelopes
from stainedglass_output_protection.protocol.readable import (
    Common,
    ErrorInfo,
    Number,
    Text,
    Usage,
    error_members,
    present,
    read,
    reader,
)

_TEXT = {"type": "text", "text": CARRIER}
_DELTA = {"type": "text_delta", "text": CARRIER}
_STOP = b"event: message_stop\ndata: "


class Message(Common):
    """A message object."""

    stop_reason: Text = UNSET


class Delta(msgspec.Struct):
    """The delta of a ``message_delta``; those of content have nothing readable."""

    stop_reason: Text = UNSET


class Event(msgspec.Struct):
    """One event."""

    type: Text = UNSET
    message: Message | UnsetType | None = UNSET
    delta: Delta | UnsetType | None = UNSET
    usage: Usage | UnsetType | None = UNSET
    error: ErrorInfo | UnsetType | None = UNSET


_message = reader(Message)
_event = reader(Event)

_UNKNOWN = apart(SEALED_EVENT)
_PIECE = event_of(
    {"type": "content_block_delta", "delta": _DELTA, "index": 0}, "content_block_delta"
)
_START = {"type": "content_block_start", "content_block": _TEXT, "index": 0}
_CONSTANT_EVENTS = {
    "content_block_start": apart(event_of(_START, "content_block_start")),
    "content_block_delta": _PIECE,
    "content_block_stop": apart(
        event_of({"type": "content_block_stop", "index": 0}, "content_block_stop")
    ),
    "ping": apart(event_of({"type": "ping"}, "ping")),
}


class MessagesEnvelopes(PlainEnvelopes):
    """The envelopes of one response."""

    failure = (
        b'event: error\ndata: {"type":"error","error":{"type":"api_error",'
        b'"message":"The server failed while it was answering."}}\n\n',
    )

    def body(self, body: bytes) -> Envelope:
        """Return the envelope of a unary body. It always has room."""
        members = read(_message, body)
        if members is None or members.type != "message":
            return super().body(body)
        return body_of(
            {**_message_members(members, is_padded=False), **self.transfer(members)}
        )

    def event(self, data: bytes) -> Envelope:
        """Return the envelope of one event: the same object for the same content."""
        event = read(_event, data)
        if event is None or not isinstance(event.type, str):
            return _UNKNOWN
        if event.type in _CONSTANT_EVENTS:
            return _CONSTANT_EVENTS[event.type]
        if event.type == "message_start":
            message = _message_members(event.message or Message(), is_padded=True)
            members = {"type": event.type, "message": message}
            return apart(event_of(members, event.type))
        if event.type == "message_delta":
            return apart(event_of(_delta_members(event), event.type))
        if event.type == "error":
            error = error_members(event.error or ErrorInfo(), CARRIER)
            members = {"type": event.type, "error": error}
            return apart(event_of(members, event.type))
        return _UNKNOWN

    def ends(self, data: bytes) -> bool:
        """Tell whether an event says that the stream ends with it."""
        if super().ends(data):
            return True
        event = read(_event, data)
        return event is not None and event.type == "message_stop"

    def final(self, data: bytes | None) -> Envelope:
        """Return the envelope of the final event: one more piece of the content."""
        return apart(_PIECE)

    def clear_end(self, payload: bytes) -> bytes:
        """Return the clear events that tell gateways of the end."""
        done = super().clear_end(payload)
        stop = event_of({"type": "message_stop"}, "message_stop").before
        return stop + done if _STOP in payload else done


def _message_members(message: Message, *, is_padded: bool) -> dict[str, Any]:
    members = {
        **present(id=message.id, model=message.model),
        "type": "message",
        "role": "assistant",
        "content": [_TEXT],
        "stop_reason": _shown_stop_reason(message.stop_reason),
        "stop_sequence": None,
    }
    if message.usage is not UNSET:
        members["usage"] = message.usage and _usage(message.usage, is_padded=is_padded)
    return members


def _delta_members(event: Event) -> dict[str, Any]:
    reason = event.delta.stop_reason if event.delta else None
    shown = {"stop_reason": _shown_stop_reason(reason), "stop_sequence": None}
    members: dict[str, Any] = {"type": event.type, "delta": shown}
    if event.usage is not UNSET:
        members["usage"] = event.usage and _usage(event.usage, is_padded=True)
    return members


def _shown_stop_reason(reason: Text) -> str | None:
    if reason is None or reason is UNSET:
        return None
    return "max_tokens" if reason == "max_tokens" else "end_turn"


def _usage(usage: Usage, *, is_padded: bool) -> dict[str, Any]:
    def shown(number: Number) -> Any:
        return padded(number) if is_padded else number

    return present(
        input_tokens=shown(usage.input_tokens),
        output_tokens=shown(usage.output_tokens),
    )
