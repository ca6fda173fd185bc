"""Server-sent events: bytes in, whole event blocks out. Knows nothing of frames."""

from __future__ import annotations

import re

from stainedglass_output_protection.errors import TooLargeError
from stainedglass_output_protection.protocol.constants import MAX_EVENT

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
# As numbers: ``LF in data`` takes a fraction of the time of ``data.find(b"\n")``.
CR, LF = b"\r\n"


class EventSplitter:
    """Cuts a byte stream into event blocks, each with its terminating blank line.

    Line ends may be LF, CRLF or CR; the bytes may come cut anywhere.
    """

    __slots__ = ("_buffer", "_limit", "_scanned")

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._scanned = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the blocks that ``data`` completes.

        Raises:
            TooLargeError: an event exceeds the limit.
        """
        if (
            not self._buffer
            and data.find(b"\n\n") == len(data) - 2 > 0
            and CR not in data
            and len(data) <= self._limit
        ):
            # One whole event at a time is what engines send.
            return [data]
        buffer = self._buffer
        buffer += data
        blocks = []
        start = 0
        position = max(self._scanned - 3, 0)
        while match := _BLANK_LINE.search(buffer, position):
            # A CR at the very end may be half of a CRLF: wait for the next byte.
            if match.end() == len(buffer) and buffer.endswith(b"\r"):
                break
            self._check_size(match.end() - start)
            blocks.append(bytes(buffer[start : match.end()]))
            start = position = match.end()
        del match
        del buffer[:start]
        self._check_size(len(buffer))
        self._scanned = len(buffer)
        return blocks

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise TooLargeError("An event is larger than the limit.")

    def end(self) -> list[bytes]:
        """Return the block that only waited for half of a line end: no more will come."""
        buffer = self._buffer
        match = _BLANK_LINE.search(buffer, max(self._scanned - 3, 0))
        if match is None or match.end() != len(buffer):
            return []
        block = bytes(buffer)
        buffer.clear()
        return [block]

    @property
    def is_in_event(self) -> bool:
        """Whether an event has begun and not ended."""
        return bool(self._buffer)

    def rest(self) -> bytes:
        """Return what has come after the last whole block."""
        return bytes(self._buffer)


def one_line_data(block: bytes) -> bytes | None:
    """Return the data of a whole event that is one line of data; None for any other."""
    data = block[6:-2]
    is_whole = block[:6] == b"data: " and block[-2:] == b"\n\n"
    return data if is_whole and LF not in data and CR not in data else None


def event_data(block: bytes) -> bytes | None:
    """Return the joined ``data`` lines of a block; None if it has none."""
    data = one_line_data(block)
    if data is not None:
        return data
    lines = []
    for line in _LINE_END.split(block):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None


def is_comment(block: bytes) -> bool:
    """Tell whether a block holds comments only, which no reader is shown."""
    return all(line[:1] in (b"", b":") for line in _LINE_END.split(block))
