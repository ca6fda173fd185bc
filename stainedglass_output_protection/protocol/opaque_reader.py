"""Container ``opaque``, client half: bytes in, whole frames out."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from stainedglass_output_protection.errors import TooLargeError
from stainedglass_output_protection.protocol.constants import MAX_BODY

_LENGTH = struct.Struct(">I")


class FrameSplitter:
    """Cuts a byte stream into frames, each of which stands behind its length."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_BODY) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames that ``data`` completes.

        Raises:
            TooLargeError: a frame's length exceeds the limit; it was not waited for.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH.size:
                (size,) = _LENGTH.unpack_from(buffer, start)
                if size > self._limit:
                    raise TooLargeError("A frame is larger than this client accepts.")
                end = start + _LENGTH.size + size
                if end > len(buffer):
                    break
                frame = bytes(buffer[start + _LENGTH.size : end])
                start = end
                yield frame
        finally:
            del buffer[:start]

    @property
    def is_in_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)
