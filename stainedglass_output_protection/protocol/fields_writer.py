"""Container ``fields``, server half: frames as text in JSON and in envelope events.

Specification: ``protocol.md#container-fields``.
"""

from __future__ import annotations

from stainedglass_output_protection.protocol.constants import TEXT_PREFIX
from stainedglass_output_protection.protocol.encoding import (
    encode_base64,
    frame_to_text,
)
from stainedglass_output_protection.protocol.envelope import Envelope, number_text
from stainedglass_output_protection.protocol.plain_envelopes import PlainEnvelopes
from stainedglass_output_protection.protocol.quick_writer import QuickWriter
from stainedglass_output_protection.protocol.sealer import Sealer

_PREFIX = TEXT_PREFIX.encode("ascii")
COMMENT = b":\n\n"


def seal_fields_body(sealer: Sealer, body: bytes, envelopes: PlainEnvelopes) -> bytes:
    """Return the protected form of a whole unary body."""
    return envelopes.body(body).around(frame_to_text(sealer.seal_body(body)))


class FieldsStream(QuickWriter):
    """Writes one protected stream of events."""

    __slots__ = ()
    shows_bare = True

    def _written(self, envelope: Envelope, frame: bytes, usage: bytes = b"") -> bytes:
        before, after, end, _, _, _, tails = envelope
        text = encode_base64(frame)
        if end is None:
            return b"".join((before, _PREFIX, text, after, usage))  # type: ignore[arg-type]
        self._number = number = self._number + 1
        if number < len(tails):
            return b"".join((before, _PREFIX, text, tails[number]))
        counted = number_text(number)
        return b"".join((before, _PREFIX, text, after, counted, end))  # type: ignore[arg-type]

    def _comment(self) -> bytes:
        return COMMENT

    def _clear_end(self, payload: bytes) -> bytes:
        return self._envelopes.clear_end(payload)
