"""Container ``fields``, server half: events in, envelope events with frames out.

Specification: ``protocol.md#streams`` and ``protocol.md#shared-prefix``. One object
writes one stream; nothing of the stream is kept but the latest event.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from msgspec import UNSET

from stainedglass_output_protection.protocol.constants import TEXT_PREFIX
from stainedglass_output_protection.protocol.encoding import (
    encode_base64,
    frame_to_text,
)
from stainedglass_output_protection.protocol.envelope import (
    SEALED_EVENT,
    Envelope,
    body_envelope,
    event_envelope,
    final_envelope,
    with_usage,
)
from stainedglass_output_protection.protocol.events import (
    EventSplitter,
    event_data,
    is_comment,
)
from stainedglass_output_protection.protocol.readable import Readable, read
from stainedglass_output_protection.protocol.sealer import Sealer

DONE_EVENT = b"data: [DONE]\n\n"
COMMENT = b":\n\n"

# The one string that changes from event to event: a delta's text, reasoning, or a
# tool call's arguments. What stands before and after it identifies the envelope.
_CHANGING_STRING = re.compile(
    rb'(?:[a-z_]+":(?:\[\{"index":\d+,"function":\{"arguments":)?)?'
    rb'"((?:[^"\\]|\\.)*)"'
)
_SHAPES_KEPT = 4
# Events without room wait for the next frame; so many bytes of them get one of their own.
_MAX_HELD = 64 * 1024


class _Shape(NamedTuple):
    """A kind of event already met: how to know it again, and its envelope's bytes."""

    starts: bytes
    ends: bytes
    readable_start: bytes
    before: bytes
    after: bytes


def seal_body(sealer: Sealer, body: bytes, route_name: str) -> bytes:
    """Return the protected form of a whole unary body."""
    frame_text = frame_to_text(sealer.seal_body(body))
    return body_envelope(body, route_name).around(frame_text)


class FieldsStream:
    """Writes one protected stream.

    ``feed`` takes the application's bytes as they come, ``finish`` must be called only
    when the application has ended its body itself.
    """

    __slots__ = (
        "_envelope",
        "_held",
        "_in_event",
        "_latest",
        "_readable_start",
        "_route_name",
        "_seal",
        "_shapes",
        "_splitter",
    )

    def __init__(self, sealer: Sealer, route_name: str) -> None:
        self._seal = sealer.seal_event
        self._route_name = route_name
        self._splitter = EventSplitter()
        self._shapes: list[_Shape] = []
        self._readable_start = b""
        self._held = b""
        self._in_event = False
        self._latest = Readable()
        self._envelope = SEALED_EVENT

    def feed(self, data: bytes) -> bytes:
        """Return the wire bytes for ``data``; empty if nothing is complete yet."""
        end = data.find(b"\n\n")
        if (
            end > 0
            and end == len(data) - 2
            and not self._in_event
            and b"\r" not in data
        ):
            # One whole event at a time is what engines send.
            return self._event(data)
        blocks = self._splitter.feed(data)
        self._in_event = self._splitter.is_in_event
        return b"".join([self._event(block) for block in blocks])

    def finish(self) -> bytes:
        """Return the stream's last wire bytes, the final frame among them."""
        payload = self._held + self._splitter.rest()
        shared = _common_prefix(self._readable_start, payload)
        envelope = final_envelope(self._latest, self._route_name)
        frame = self._seal(payload, shared, is_final=True)
        done = DONE_EVENT if payload.endswith(DONE_EVENT) else b""
        return envelope.around(frame_to_text(frame)) + done

    def fail(self, error_event: bytes) -> bytes:
        """Return the wire bytes for an application that raised: an error and the end.

        Half an event that it may have sent is dropped: no reader could see it.
        """
        self._splitter = EventSplitter()
        return self._event(error_event) + self._event(DONE_EVENT) + self.finish()

    def _event(self, block: bytes) -> bytes:
        if self._held:
            return self._unknown(block)
        for starts, ends, readable_start, before, after in self._shapes:
            if block.startswith(starts) and block.endswith(ends):
                if readable_start is self._readable_start:
                    shared = len(readable_start)
                else:
                    shared = _common_prefix(self._readable_start, block)
                    self._readable_start = readable_start
                return before + encode_base64(self._seal(block, shared)) + after
        return self._unknown(block)

    def _unknown(self, block: bytes) -> bytes:
        data = event_data(block)
        if data is None:
            if not is_comment(block):
                self._held += block
            return COMMENT
        if data == b"[DONE]":
            self._held += block
            return b""
        envelope = self._envelope_of(data)
        if envelope.after is None:
            if len(self._held) < _MAX_HELD:
                self._held += block
                return envelope.before
            envelope = SEALED_EVENT
        payload = self._held + block
        shared = _common_prefix(self._readable_start, payload)
        # Without the carrier's opening quote.
        prefix = envelope.before[:-1]
        self._readable_start = payload[: _common_prefix(prefix, payload)]
        if not self._held and envelope is self._envelope and envelope.after:
            self._remember(block, envelope.before, envelope.after)
        self._held = b""
        return envelope.around(frame_to_text(self._seal(payload, shared)))

    def _envelope_of(self, data: bytes) -> Envelope:
        readable = read(data)
        usage, readable.usage = readable.usage, UNSET
        if readable != self._latest:
            self._latest = readable
            self._envelope = event_envelope(readable, self._route_name)
        return self._envelope if usage is UNSET else with_usage(self._envelope, usage)

    def _remember(self, block: bytes, before: bytes, after: bytes) -> None:
        readable_start = self._readable_start
        match = _CHANGING_STRING.match(block, len(readable_start))
        if match is None:
            return
        start, end = match.span(1)
        shape = _Shape(
            starts=block[:start],
            ends=block[end:],
            readable_start=readable_start,
            before=before + TEXT_PREFIX.encode("ascii"),
            after=after,
        )
        self._shapes = [shape, *self._shapes[: _SHAPES_KEPT - 1]]


def _common_prefix(left: bytes, right: bytes) -> int:
    """Return the length of the common prefix, by halving: this is on the hot path."""
    if right.startswith(left):
        return len(left)
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
