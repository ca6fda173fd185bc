"""Envelopes of the Responses API, unary and streamed with ``event:`` lines."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from stainedglass_output_protection.protocol.envelope import (
    CARRIER,
    NUMBER,
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
    Text,
    Usage,
    error_members,
    present,
    read,
    reader,
)

_TEXT = {"type": "output_text", "text": CARRIER, "annotations": []}
_ITEM = {"type": "message", "id": "", "role": "assistant", "content": [_TEXT]}
_AT = {"item_id": "", "output_index": 0}
_AT_PART = {**_AT, "content_index": 0}
_NO_LOGPROBS: dict[str, Any] = {"logprobs": []}

# What an event needs beside type and number, by type. Every type that is not here is
# sealed whole. In alphabetical order, as engines write them: the more of its beginning
# an event shares with its envelope, the smaller its frame.
_EVENTS: dict[str, dict[str, Any]] = {
    "response.output_text.delta": {**_AT_PART, **_NO_LOGPROBS, "delta": CARRIER},
    "response.output_text.done": {**_AT_PART, **_NO_LOGPROBS, "text": CARRIER},
    "response.refusal.delta": {**_AT_PART, "delta": CARRIER},
    "response.refusal.done": {**_AT_PART, "refusal": CARRIER},
    "response.reasoning_text.delta": {**_AT_PART, "delta": CARRIER},
    "response.reasoning_text.done": {**_AT_PART, "text": CARRIER},
    "response.reasoning_part.added": {**_AT_PART, "part": {**_TEXT, "type": "reasoning_text"}},
    "response.reasoning_part.done": {**_AT_PART, "part": {**_TEXT, "type": "reasoning_text"}},
    "response.content_part.added": {**_AT_PART, "part": _TEXT},
    "response.content_part.done": {**_AT_PART, "part": _TEXT},
    "response.output_item.added": {"item": {**_ITEM, "status": "in_progress"}, "output_index": 0},
    "response.output_item.done": {"item": {**_ITEM, "status": "completed"}, "output_index": 0},
    "response.function_call_arguments.delta": {**_AT, "delta": CARRIER},
    "response.function_call_arguments.done": {**_AT, "arguments": CARRIER, "name": ""},
    "response.custom_tool_call_input.delta": {**_AT, "delta": CARRIER},
    "response.custom_tool_call_input.done": {**_AT, "input": CARRIER},
    "response.code_interpreter_call_code.delta": {**_AT, "delta": CARRIER},
    "response.code_interpreter_call_code.done": {**_AT, "code": CARRIER},
    "response.mcp_call_arguments.delta": {**_AT, "delta": CARRIER},
    "response.mcp_call_arguments.done": {**_AT, "arguments": CARRIER},
    "error": {"code": None, "message": CARRIER, "param": None},
}  # fmt: skip
_STATUS_BY_EVENT = {
    "response.created": "in_progress",
    "response.queued": "queued",
    "response.in_progress": "in_progress",
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
}
_LAST = ("response.completed", "response.incomplete", "response.failed")
# Required of a response object, whatever is in it.
_CONSTANTS: dict[str, Any] = {
    "background": False,
    "max_output_tokens": 0,
    "parallel_tool_calls": True,
    "service_tier": "auto",
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
# An error event of the API's type, and with it the member by which SDKs raise.
_FAILURE = (
    b'event: error\ndata: {"code":"server_error","error":{"message":"The server failed '
    b'while it was answering.","type":"InternalServerError","param":null,"code":500},'
    b'"message":"The server failed while it was answering.","param":null,'
    b'"sequence_number":0,"type":"error"}\n\n'
)
_STATUSES = frozenset({"completed", "incomplete", "in_progress"})


class ResponseObject(Common):
    """A response object."""

    status: Text = UNSET


class Event(msgspec.Struct):
    """An event; those that carry the whole response object have it as a member."""

    type: Text = UNSET
    response: ResponseObject | UnsetType | None = UNSET


_UNKNOWN = apart(SEALED_EVENT)
_object = reader(ResponseObject)
_event = reader(Event)


class ResponsesEnvelopes(PlainEnvelopes):
    """The envelopes of one response."""

    failure = (_FAILURE,)

    def body(self, body: bytes) -> Envelope:
        """Return the envelope of a unary body. It always has room."""
        members = read(_object, body)
        if members is None or members.object != "response":
            return super().body(body)
        shown = _response_members(members, members.status, is_padded=False)
        return body_of({**shown, **self.transfer(members)})

    def event(self, data: bytes) -> Envelope:
        """Return the envelope of one event: the same object for the same type."""
        event = read(_event, data)
        if event is None or not isinstance(event.type, str):
            return _UNKNOWN
        status = _STATUS_BY_EVENT.get(event.type)
        if status is None:
            return _CONSTANT_EVENTS.get(event.type, _UNKNOWN)
        response = event.response or ResponseObject()
        members = {
            "response": _response_members(response, status, is_padded=True),
            "sequence_number": NUMBER,
            "type": event.type,
        }
        return apart(event_of(members, event.type))

    def ends(self, data: bytes) -> bool:
        """Tell whether an event says that the stream ends with it."""
        if super().ends(data):
            return True
        event = read(_event, data)
        return event is not None and event.type in _LAST

    def final(self, data: bytes | None) -> Envelope:
        """Return the envelope of the final event: that which ended the stream."""
        return _UNKNOWN if data is None else self.event(data)


def _constant_event(event_type: str) -> Envelope:
    members = dict(sorted(_EVENTS[event_type].items()))
    # The number must come after the frame, so it stands behind "text" too.
    members |= {"sequence_number": NUMBER, "type": event_type}
    envelope = event_of(members, event_type)
    return envelope if event_type.endswith(".delta") else apart(envelope)


_CONSTANT_EVENTS = {event_type: _constant_event(event_type) for event_type in _EVENTS}


def _response_members(
    response: ResponseObject, status: Text, *, is_padded: bool
) -> dict[str, Any]:
    members: dict[str, Any] = {
        **present(
            id=response.id,
            created_at=response.created_at,
            model=response.model,
        ),
        "object": "response",
        "status": status if status in _STATUSES else "completed",
        **_CONSTANTS,
        "output": [{**_ITEM, "status": "completed"}],
    }
    if response.usage is not UNSET:
        members["usage"] = response.usage and _usage(
            response.usage, is_padded=is_padded
        )
    if response.error:
        members["error"] = error_members(response.error, "")
    return members


def _usage(usage: Usage, *, is_padded: bool) -> dict[str, Any]:
    counts = present(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
    )
    if is_padded:
        counts = {name: padded(count) for name, count in counts.items()}
    return {
        **counts,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
