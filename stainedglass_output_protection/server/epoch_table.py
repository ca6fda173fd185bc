"""The file in which the processes of one server share their epochs.

It is small, lies in memory, and is read and written whole under a lock. Nothing of an
epoch that was left out stays in it: what was behind the new end is overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stainedglass_output_protection.protocol.constants import SECRET_SIZE
from stainedglass_output_protection.server.epochs import Epoch, Span

_MAGIC = b"sgop1 epochs 1\n\x00"
_HEADER = struct.Struct(">16sQH")
_ENTRY = struct.Struct(f">QQQ{SECRET_SIZE}s")
_CHECK_SIZE = 32
_MAX_SIZE = 64 * 1024


class TableError(Exception):
    """The file is not a whole table."""


@dataclass(frozen=True)
class Table:
    """The epochs that live, in order, and the start of the newest there ever was."""

    newest_start: int = 0
    epochs: tuple[Epoch, ...] = ()

    def encode(self) -> bytes:
        """Return the table's bytes."""
        parts = [_HEADER.pack(_MAGIC, self.newest_start, len(self.epochs))]
        for epoch in self.epochs:
            span = epoch.span
            parts.append(
                _ENTRY.pack(
                    span.start, span.retires_at, span.elapsed_deadline, epoch.secret
                )
            )
        data = b"".join(parts)
        return data + hashlib.sha256(data).digest()

    @classmethod
    def decode(cls, data: bytes) -> Table:
        """Return the table in ``data``, behind which there may be zeros.

        Raises:
            TableError: it is not whole.
        """
        try:
            magic, newest_start, count = _HEADER.unpack_from(data)
        except struct.error:
            raise TableError from None
        end = _HEADER.size + count * _ENTRY.size
        body, check, rest = (
            data[:end],
            data[end:][:_CHECK_SIZE],
            data[end:][_CHECK_SIZE:],
        )
        if magic != _MAGIC or hashlib.sha256(body).digest() != check or any(rest):
            raise TableError
        return cls(newest_start, tuple(_epochs_in(body[_HEADER.size :])))


class TableFile:
    """The open file, while its lock is held."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> Table:
        """Return the table.

        Raises:
            OSError, TableError: it cannot be read, or is not whole.
        """
        return Table.decode(os.pread(self._descriptor, _MAX_SIZE, 0))

    def write(self, table: Table) -> None:
        """Replace the table in place.

        Raises:
            OSError: it cannot be written.
        """
        # One write with zeros to the old end: a process that dies leaves no old secret
        # behind, as it would between a write and a truncation.
        size = os.fstat(self._descriptor).st_size
        data = table.encode().ljust(size, b"\0")
        if os.pwrite(self._descriptor, data, 0) != len(data):
            raise OSError("a short write")


@contextlib.contextmanager
def locked_table(path: Path) -> Iterator[TableFile]:
    """Open the table's file and keep other processes out.

    Raises:
        OSError: it is gone, or cannot be opened or locked.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        # Others hold it for microseconds, so this waits.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield TableFile(descriptor)
        finally:
            # Not left to closing: a child forked meanwhile has it open too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _epochs_in(data: bytes) -> Iterator[Epoch]:
    entries: Sequence[tuple[int, int, int, bytes]] = list(_ENTRY.iter_unpack(data))
    for start, retires_at, deadline, secret in entries:
        yield Epoch(Span(start, 0, retires_at, deadline), secret)
