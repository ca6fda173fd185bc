"""Server-sent events in, frames out: what both containers have in common.

Specification: ``protocol.md#streams`` and ``protocol.md#shared-prefix``. One object
writes one stream; nothing of the stream is kept but the latest event.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stainedglass_output_protection.protocol.envelope import SEALED_EVENT, Envelope
from stainedglass_output_protection.protocol.events import (
    EventSplitter,
    event_data,
    is_comment,
)
from stainedglass_output_protection.protocol.plain_envelopes import PlainEnvelopes
from stainedglass_output_protection.protocol.sealer import Sealer

# The one string that changes from event to event: a delta's text, reasoning, or a
# tool call's arguments. What stands before and after it identifies the envelope.
_CHANGING_STRING = re.compile(
    rb'(?:[a-z_]+":(?:\[\{"index":\d+,"function":\{"arguments":)?'
    rb'|[a-z_]*_delta","[a-z_]+":)?'
    rb'"((?:[^"\\]|\\.)*)"'
)
_SHAPES_KEPT = 4
# A number that counts the events, and what follows it: no string of the model's can be
# there, or the event would not end so.
_NUMBERED_END = re.compile(rb'"sequence_number":\d+(,"type":"[a-z_.]+"}\n\n)$')
# Events without room wait for the next frame; so many bytes of them get one of their own.
_MAX_HELD = 64 * 1024


class Shape(NamedTuple):
    """A kind of event already met: how to know it again, and what it has in common."""

    starts: bytes
    ends: bytes
    readable_start: bytes
    envelope: Envelope


class StreamWriter:
    """Writes one protected stream. A container's own class fills in the last steps.

    ``feed`` takes the application's bytes as they come, ``finish`` must be called only
    when the application has ended its body itself.
    """

    __slots__ = (
        "_envelopes",
        "_held",
        "_in_event",
        "_last_data",
        "_number",
        "_readable_start",
        "_seal",
        "_shapes",
        "_splitter",
    )

    def __init__(self, sealer: Sealer, envelopes: PlainEnvelopes) -> None:
        self._seal = sealer.seal_event
        self._envelopes = envelopes
        self._splitter = EventSplitter()
        self._shapes: list[Shape] = []
        self._readable_start = b""
        self._held = b""
        self._in_event = False
        # Data of the first held event that says the stream ends with it.
        self._last_data: bytes | None = None
        self._number = -1

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
        self._number += 1
        envelope = self._envelopes.final(self._last_data, self._number)
        frame = self._seal(payload, shared, is_final=True)
        return self._written(envelope, frame) + self._clear_end(payload)

    def fail(self) -> bytes:
        """Return the wire bytes for an application that raised: an error and the end.

        Half an event that it may have sent is dropped: no reader could see it.
        """
        self._splitter = EventSplitter()
        events = [self._event(event) for event in self._envelopes.failure]
        return b"".join(events) + self.finish()

    def _written(self, envelope: Envelope, frame: bytes) -> bytes:
        """Return a frame as the container has it."""
        raise NotImplementedError

    def _is_bare(self, envelope: Envelope) -> bool:
        """Tell whether an event goes out without a frame."""
        raise NotImplementedError

    def _comment(self) -> bytes:
        """Return what takes the place of a comment."""
        raise NotImplementedError

    def _clear_end(self, payload: bytes) -> bytes:
        """Return what follows the final frame, whose payload is given."""
        raise NotImplementedError

    def _event(self, block: bytes) -> bytes:
        self._number += 1
        if self._held:
            return self._unknown(block)
        for starts, ends, readable_start, envelope in self._shapes:
            if block.startswith(starts) and block.endswith(ends):
                if readable_start is self._readable_start:
                    shared = len(readable_start)
                else:
                    shared = _common_prefix(self._readable_start, block)
                    self._readable_start = readable_start
                return self._written(envelope, self._seal(block, shared))
        return self._unknown(block)

    def _unknown(self, block: bytes) -> bytes:
        data = event_data(block)
        if data is None:
            if not is_comment(block):
                self._held += block
            return self._comment()
        if self._envelopes.ends(data):
            self._held += block
            if self._last_data is None:
                self._last_data = data
            return b""
        self._last_data = None
        envelope = self._envelopes.event(data, self._number)
        if self._is_bare(envelope):
            if len(self._held) < _MAX_HELD:
                self._held += block
                return envelope.before
            envelope = SEALED_EVENT
        payload = self._held + block
        shared = _common_prefix(self._readable_start, payload)
        # Without the carrier's opening quote.
        prefix = envelope.before[:-1]
        self._readable_start = payload[: _common_prefix(prefix, payload)]
        if not self._held and envelope.repeats:
            self._remember(block, envelope)
        self._held = b""
        return self._written(envelope, self._seal(payload, shared))

    def _remember(self, block: bytes, envelope: Envelope) -> None:
        """Learn the kind of an event, to know it again by all but its one string."""
        readable_start = self._readable_start
        match = _CHANGING_STRING.match(block, len(readable_start))
        if match is None:
            return
        start, end = match.span(1)
        ends = block[end:]
        if envelope.end is not None:
            number = _NUMBERED_END.search(block, end)
            if number is None:
                return
            ends = number[1]
        shape = Shape(block[:start], ends, readable_start, envelope)
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
