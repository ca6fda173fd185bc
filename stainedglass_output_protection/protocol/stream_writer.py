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
    one_line_data,
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
_MISSES_BORNE = 8
_MISSES_WAITED = 256
# A number that counts the events, and what follows it: no string of the model's can be
# there, or the event would not end so.
_NUMBERED_END = re.compile(rb'"sequence_number":\d+(,"type":"[a-z_.]+"}\n\n)$')
# Events without room wait for the next frame; so many bytes of them get one of their own.
_MAX_HELD = 64 * 1024


class Shape(NamedTuple):
    """A kind of event already met: how to know it again, and what it has in common."""

    starts: bytes
    ends: bytes
    first: int
    last: int
    readable_start: bytes
    envelope: Envelope
    # What they share with an event of another kind, by how that one begins.
    shared_after: dict[bytes, int]


class StreamWriter:
    """Writes one protected stream. A container's own class fills in the last steps.

    ``feed`` takes the application's bytes as they come, ``finish`` must be called only
    when the application has ended its body itself.
    """

    __slots__ = (
        "_before",
        "_envelopes",
        "_held",
        "_last_data",
        "_misses",
        "_must_read",
        "_number",
        "_prefix",
        "_readable_start",
        "_seal",
        "_sealed_then",
        "_sealer",
        "_shapes",
        "_splitter",
        "_was_apart",
    )

    def __init__(self, sealer: Sealer, envelopes: PlainEnvelopes) -> None:
        self._sealer = sealer
        self._seal = sealer.seal_event
        self._envelopes = envelopes
        self._splitter = EventSplitter()
        self._shapes: list[Shape] = []
        self._readable_start = b""
        # The latest envelope's beginning, and the part of it that may be shared.
        self._before = b""
        self._prefix = b""
        self._held = b""
        # Data of the first held event that says the stream ends with it.
        self._last_data: bytes | None = None
        self._number = 0
        # Events in a row that were of no known kind.
        self._misses = 0
        self._sealed_then = 0
        # After an event apart, while bytes wait and inside an event: nothing is known.
        self._was_apart = False
        self._must_read = False

    def feed(self, data: bytes) -> bytes:
        """Return the wire bytes for ``data``; empty if nothing is complete yet."""
        if self._must_read:
            return self._feed_unknown(data)
        # One whole event of a known kind at a time is what engines send.
        for shape in self._shapes:
            starts, ends, first, last, readable_start, envelope, shared_after = shape
            if (
                data.startswith(starts)
                and data.endswith(ends)
                # Not two events, or one and a piece of the next.
                and data.find(b"\n", first, last) < 0
            ):
                if readable_start is self._readable_start:
                    shared = len(readable_start)
                else:
                    shared = shared_after.get(self._readable_start, -1)
                    if shared < 0:
                        shared = self._shared_with(shape, data)
                    self._readable_start = readable_start
                return self._written(envelope, self._seal(data, shared))
        return self._feed_unknown(data)

    def _feed_unknown(self, data: bytes) -> bytes:
        if not self._splitter.is_in_event:
            line = one_line_data(data)
            if line is not None:
                return self._unknown(data, line)
        blocks = self._splitter.feed(data)
        wire = b"".join([self._unknown(block, event_data(block)) for block in blocks])
        self._must_read |= self._splitter.is_in_event
        return wire

    def finish(self) -> bytes:
        """Return the stream's last wire bytes, the final frame among them."""
        payload = self._held + self._splitter.rest()
        shared = _common_prefix(self._readable_start, payload)
        envelope = self._envelopes.final(self._last_data)
        frame = self._seal(payload, shared, is_final=True, is_apart=envelope.is_apart)
        return self._written(envelope, frame) + self._clear_end(payload)

    def fail(self) -> bytes:
        """Return the wire bytes for an application that raised: an error and the end.

        Half an event that it may have sent is dropped: no reader could see it.
        """
        self._splitter = EventSplitter()
        self._must_read = True
        wire = b"".join(map(self._feed_unknown, self._envelopes.failure))
        return wire + self.finish()

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

    def _unknown(self, block: bytes, data: bytes | None) -> bytes:
        wire = self._read(block, data)
        self._must_read = bool(self._held) or self._was_apart
        return wire

    def _shared_with(self, shape: Shape, block: bytes) -> int:
        before = self._readable_start
        shared = _common_prefix(before, block)
        # If they part within what all events of the shape begin with, it is always so.
        if (
            shared < min(len(before), shape.first)
            and len(shape.shared_after) < _SHAPES_KEPT
        ):
            shape.shared_after[before] = shared
        return shared

    def _read(self, block: bytes, data: bytes | None) -> bytes:
        if data is None:
            if is_comment(block):
                return self._comment()
            self._held += block
            return self._comment() if len(self._held) < _MAX_HELD else self._flush()
        if self._envelopes.ends(data):
            self._held += block
            if self._last_data is None:
                self._last_data = data
            return b""
        self._last_data = None
        envelope = self._envelopes.event(data)
        if self._is_bare(envelope):
            if len(self._held) < _MAX_HELD:
                self._held += block
                return envelope.before
            envelope = SEALED_EVENT
        payload = self._held + block
        prefix = self._prefix
        if envelope.before is not self._before:
            # Without the carrier's opening quote.
            self._prefix = prefix = envelope.before[:-1]
            self._before = envelope.before
        if self._readable_start is prefix and payload.startswith(prefix):
            shared = len(prefix)
        else:
            shared = _common_prefix(self._readable_start, payload)
            is_whole = payload.startswith(prefix)
            size = _common_prefix(prefix, payload)
            self._readable_start = prefix if is_whole else payload[:size]
        sealed = self._sealer.sealed
        # No event of a known kind has come since the last of an unknown one.
        self._misses = self._misses + 1 if sealed == self._sealed_then else 0
        self._sealed_then = sealed + 1
        if self._misses >= _MISSES_BORNE:
            # Every part of these events changes: learning them is lost work, for a while.
            self._shapes = []
            self._misses %= _MISSES_WAITED
        elif not self._held and envelope.repeats:
            self._remember(block, envelope)
        self._held = b""
        # The first piece of text after an event apart cannot leave out its beginning.
        is_apart = envelope.is_apart or self._was_apart
        self._was_apart = envelope.is_apart
        return self._written(envelope, self._seal(payload, shared, is_apart=is_apart))

    def _flush(self) -> bytes:
        """Return a frame with the bytes that wait for one."""
        payload, self._held = self._held, b""
        shared = _common_prefix(self._readable_start, payload)
        self._readable_start = b""
        frame = self._seal(payload, shared, is_apart=True)
        return self._written(SEALED_EVENT, frame)

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
        shape = Shape(
            block[:start], ends, start, -len(ends), readable_start, envelope, {}
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
