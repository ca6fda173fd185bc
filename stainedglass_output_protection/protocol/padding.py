"""Sizes that tell (almost) nothing (``protocol.md#padding``)."""

from __future__ import annotations

import struct
from bisect import bisect_left

from stainedglass_output_protection.protocol.constants import RECORD_HEADER_SIZE
from stainedglass_output_protection.protocol.layout import RECORD

# A chat event with a token of any usual length.
_FIRST_FITS = 104
_DOUBLE_FROM = 256
_MIN_UNARY = 1024

LADDER = tuple(
    size for step in range(7, 34) for size in (1 << step, (1 << step) + (1 << step - 1))
)


def rung(size: int) -> int:
    """Return the smallest rung that holds ``size`` bytes."""
    return LADDER[bisect_left(LADDER, size)]


def climb(current: int, size: int) -> int:
    """Return the plaintext size for a streamed frame after one of ``current`` bytes.

    It never shrinks. Growing past the first rung it leaves room, more for larger events,
    so that a stream seldom changes its size.
    """
    if size <= current:
        return current
    if size <= _FIRST_FITS:
        return LADDER[0]
    return rung(size * 8 // 5 if size <= _DOUBLE_FROM else 2 * size)


def padme(size: int) -> int:
    """Return the Padmé size of a unary plaintext, at least 1024 bytes."""
    size = max(size, _MIN_UNARY)
    exponent = size.bit_length() - 1
    free_bits = exponent - exponent.bit_length()
    mask = (1 << free_bits) - 1
    return (size + mask) & ~mask


class PaddedRecords:
    """Makes the records of a stream, each padded to the ladder's size of that moment.

    ``pack`` takes how many bytes are shared, the number of those that are not, and
    these; of more than ``room`` it would lose the rest, so ``make_room`` comes first.
    """

    __slots__ = ("_size", "pack", "room")

    def __init__(self) -> None:
        self._size = 0
        self.room = -1
        self.pack = RECORD.pack

    def make_room(self, length: int) -> None:
        """Climb to a size that has room for ``length`` bytes."""
        self._size = climb(self._size, length + RECORD_HEADER_SIZE)
        self.room = self._size - RECORD_HEADER_SIZE
        # One call that also joins and pads: a record is made for every event.
        self.pack = struct.Struct(f"{RECORD.format}{self.room}s").pack
