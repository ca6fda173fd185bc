"""Server-sent events in, frames out: what both containers have in common.

Specification: ``protocol.md#streams`` and ``protocol.md#shared-prefix``. One object
writes one stream; nothing of the stream is kept but the latest event.
"""

from __future__ import annotations

from typing import ClassVar

from stainedglass_output_protection.protocol.envelope import SEALED_EVENT, Envelope
from stainedglass_output_protection.protocol.events import (
    EventSplitter,
    event_data,
    is_comment,
)
from stainedglass_output_protection.protocol.plain_envelopes import PlainEnvelopes
from stainedglass_output_protection.protocol.sealer import Sealer
from stainedglass_output_protection.protocol.shared_prefix import common_prefix

# Events without room wait for the next frame; so many bytes of them get one of their own.
_MAX_HELD = 64 * 1024


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
        "_must_read",
        "_number",
        "_prefix",
        "_readable_start",
        "_seal",
        "_sealer",
        "_splitter",
        "_was_apart",
    )

    # Whether an event without room goes out as it is shown, without a frame.
    shows_bare: ClassVar[bool]

    def __init__(self, sealer: Sealer, envelopes: PlainEnvelopes) -> None:
        self._sealer = sealer
        self._seal = sealer.seal_event
        self._envelopes = envelopes
        self._splitter = EventSplitter()
        self._readable_start = b""
        # The latest envelope's beginning, and the part of it that may be shared.
        self._before = b""
        self._prefix = b""
        self._held = b""
        # Data of the first held event that says the stream ends with it.
        self._last_data: bytes | None = None
        self._number = 0
        self._was_apart = False
        # After an event apart, while bytes wait and inside an event: nothing is known.
        self._must_read = False

    def feed(self, data: bytes) -> bytes:
        """Return the wire bytes for ``data``; empty if nothing is complete yet."""
        wire = b"".join(map(self._block, self._splitter.feed(data)))
        waits = bool(self._held) or self._splitter.is_in_event
        self._must_read = waits or self._was_apart
        return wire

    def finish(self) -> bytes:
        """Return the stream's last wire bytes, the final frame among them."""
        payload = self._held + self._splitter.rest()
        shared = common_prefix(self._readable_start, payload)
        envelope = self._envelopes.final(self._last_data)
        frame = self._seal(payload, shared, is_final=True, is_apart=envelope.is_apart)
        return self._written(envelope, frame) + self._clear_end(payload)

    def fail(self) -> bytes:
        """Return the wire bytes for an application that raised: an error and the end.

        Half an event that it may have sent is dropped: no reader could see it.
        """
        self._splitter = EventSplitter()
        return b"".join(map(self.feed, self._envelopes.failure)) + self.finish()

    def _written(self, envelope: Envelope, frame: bytes, usage: bytes = b"") -> bytes:
        """Return a frame as the container has it; ``usage`` ends an open envelope."""
        raise NotImplementedError

    def _comment(self) -> bytes:
        """Return what takes the place of a comment."""
        raise NotImplementedError

    def _clear_end(self, payload: bytes) -> bytes:
        """Return what follows the final frame, whose payload is given."""
        raise NotImplementedError

    def _learn(self, block: bytes, envelope: Envelope) -> None:
        """Take note of an event of a kind that is likely to come again."""

    def _block(self, block: bytes) -> bytes:
        data = event_data(block)
        if data is not None:
            return self._event(block, data)
        if is_comment(block):
            return self._comment()
        self._held += block
        return self._comment() if len(self._held) < _MAX_HELD else self._flush()

    def _event(self, block: bytes, data: bytes) -> bytes:
        if self._envelopes.ends(data):
            self._held += block
            self._must_read = True
            if self._last_data is None:
                self._last_data = data
            return b""
        self._last_data = None
        envelope = self._envelopes.event(data)
        if envelope.after is None and self.shows_bare:
            if len(self._held) < _MAX_HELD:
                self._held += block
                self._must_read = True
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
            shared = common_prefix(self._readable_start, payload)
            is_whole = payload.startswith(prefix)
            size = common_prefix(prefix, payload)
            self._readable_start = prefix if is_whole else payload[:size]
        if envelope.repeats and not self._held:
            self._learn(block, envelope)
        self._held = b""
        # The first piece of text after an event apart cannot leave out its beginning.
        is_apart = envelope.is_apart or self._was_apart
        self._must_read = self._was_apart = envelope.is_apart
        return self._written(envelope, self._seal(payload, shared, is_apart=is_apart))

    def _flush(self) -> bytes:
        """Return a frame with the bytes that wait for one."""
        payload, self._held = self._held, b""
        shared = common_prefix(self._readable_start, payload)
        self._readable_start = b""
        frame = self._seal(payload, shared, is_apart=True)
        return self._written(SEALED_EVENT, frame)
