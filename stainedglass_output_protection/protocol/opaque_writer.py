"""Container ``opaque``, server half: frames with their lengths, and nothing readable.

Specification: ``protocol.md#container-opaque``. The envelope that container ``fields``
would show decides here too how much an event shares with the previous one.
"""

from __future__ import annotations

import struct

from stainedglass_output_protection.protocol.envelope import Envelope
from stainedglass_output_protection.protocol.quick_writer import QuickWriter
from stainedglass_output_protection.protocol.sealer import Sealer

_LENGTH = struct.Struct(">I")


def seal_opaque_body(sealer: Sealer, body: bytes) -> bytes:
    """Return the protected form of a whole body of any type."""
    return with_length(sealer.seal_body(body))


def with_length(frame: bytes) -> bytes:
    """Return a frame as it stands in the body."""
    return _LENGTH.pack(len(frame)) + frame


class OpaqueStream(QuickWriter):
    """Writes one protected stream of events."""

    __slots__ = ()
    shows_bare = False

    def _written(self, envelope: Envelope, frame: bytes, usage: bytes = b"") -> bytes:
        return with_length(frame)

    def _comment(self) -> bytes:
        # Comments keep connections alive, so something has to go out.
        self._readable_start = b""
        return with_length(self._seal(b""))

    def _clear_end(self, payload: bytes) -> bytes:
        return b""
