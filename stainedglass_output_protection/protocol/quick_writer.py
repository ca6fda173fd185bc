"""Known kinds of events go out without being read: what both containers write with.

Specification: ``protocol.md#implementation-notes``. For events as engines write them,
the wire is byte for byte what the base class would write.
"""

from __future__ import annotations

from stainedglass_output_protection.protocol.envelope import Envelope
from stainedglass_output_protection.protocol.events import LF, one_line_data
from stainedglass_output_protection.protocol.known_event import KnownEvent, known_event
from stainedglass_output_protection.protocol.plain_envelopes import PlainEnvelopes
from stainedglass_output_protection.protocol.sealer import Sealer
from stainedglass_output_protection.protocol.shared_prefix import common_prefix
from stainedglass_output_protection.protocol.stream_writer import StreamWriter
from stainedglass_output_protection.protocol.usage_end import (
    shown_usage_end,
    usual_usage,
)

_KINDS_KEPT = 4
_MISSES_BORNE = 8
_MISSES_WAITED = 256


class QuickWriter(StreamWriter):
    """Writes one protected stream, and remembers a few kinds of events."""

    __slots__ = ("_kinds", "_kinds_with_usage", "_misses", "_sealed_then", "_waits")

    def __init__(self, sealer: Sealer, envelopes: PlainEnvelopes) -> None:
        super().__init__(sealer, envelopes)
        # Latest first.
        self._kinds: list[KnownEvent] = []
        self._kinds_with_usage: list[KnownEvent] = []
        # Events in a row that were of no known kind.
        self._misses = 0
        self._sealed_then = 0
        # So many events to come are not worth learning.
        self._waits = 0

    def feed(self, data: bytes) -> bytes:
        """Return the wire bytes for ``data``; empty if nothing is complete yet."""
        if self._must_read:
            return super().feed(data)
        usage = b""
        # One whole event of a known kind at a time is what engines send.
        for kind in self._kinds:
            starts, ends, first, last, readable_start, envelope, shared_after = kind
            if (
                data.startswith(starts)
                and data.endswith(ends)
                # Not two events, or one and a piece of the next.
                and LF not in data[first:last]
            ):
                break
        else:
            found = self._find_with_usage(data) if self._kinds_with_usage else None
            if found is None:
                line = one_line_data(data)
                if line is None:
                    return super().feed(data)
                return self._event(data, line)
            kind, usage = found
            _, _, _, _, readable_start, envelope, shared_after = kind
        if readable_start is self._readable_start:
            shared = len(readable_start)
        else:
            shared = shared_after.get(self._readable_start, -1)
            if shared < 0:
                shared = self._shared_by(kind, data)
            self._readable_start = readable_start
        return self._written(envelope, self._seal(data, shared), usage)

    def _find_with_usage(self, data: bytes) -> tuple[KnownEvent, bytes] | None:
        """Return the kind of an event that ends with a usage, and how its envelope ends."""
        usage = usual_usage(data)
        if usage is None:
            return None
        at = usage.start()
        for kind in self._kinds_with_usage:
            starts, ends, first, _, _, _, _ = kind
            if (
                data.startswith(starts)
                and data.endswith(ends, first, at)
                and LF not in data[first:at]
            ):
                return kind, shown_usage_end(usage)
        return None

    def _shared_by(self, kind: KnownEvent, block: bytes) -> int:
        before = self._readable_start
        shared = common_prefix(before, block)
        # If they part within what all events of the kind begin with, it is always so.
        if (
            shared < min(len(before), kind.first)
            and len(kind.shared_after) < _KINDS_KEPT
        ):
            kind.shared_after[before] = shared
        return shared

    def _learn(self, block: bytes, envelope: Envelope) -> None:
        if self._waits:
            self._waits -= 1
            return
        sealed = self._sealer.sealed
        self._misses = self._misses + 1 if sealed == self._sealed_then else 0
        self._sealed_then = sealed + 1
        if self._misses >= _MISSES_BORNE:
            # Every part of these events changes: learning them is lost work, for a while.
            self._kinds = []
            self._kinds_with_usage = []
            self._misses = 0
            self._waits = _MISSES_WAITED
            return
        kind = known_event(block, self._readable_start, envelope)
        if kind is None:
            return
        if envelope.without_usage is None:
            self._kinds = [kind, *self._kinds[: _KINDS_KEPT - 1]]
        else:
            kept = self._kinds_with_usage[: _KINDS_KEPT - 1]
            self._kinds_with_usage = [kind, *kept]
