"""Small files of one user that several processes read and replace, on every platform.

A file is only ever replaced whole, so reading one needs no lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

LOCK_TIMEOUT_S: Final = 2.0
MAX_FILE_SIZE: Final = 1024 * 1024
_PAUSE_S = 0.01
_IS_WINDOWS = os.name == "nt"

_Result = TypeVar("_Result")

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        # Not left to closing: a child that was forked meanwhile has it open too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def read_file(path: Path) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file, and its status as it was read.

    Raises:
        OSError: it cannot be read, is no regular file, or exceeds 1 MiB.
    """
    return _patiently(lambda: _read(path))


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` in place of the whole file, or make it; only this user may read it.

    Of a symbolic link the target is replaced. The caller holds the lock of ``path`` if
    what it writes depends on what it has read.

    Raises:
        OSError: it cannot be written, or exceeds 1 MiB; the file is as it was.
    """
    if len(data) > MAX_FILE_SIZE:
        raise _too_large()
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _patiently(lambda: os.replace(temporary, target))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes and threads from entering with the same ``path``.

    The lock goes with the process that holds it; the file ``PATH.lock`` stays.

    Raises:
        OSError: there can be no lock, or no turn within ``LOCK_TIMEOUT_S``.
    """
    name = os.path.realpath(path) + ".lock"
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if _try_lock(descriptor):
                try:
                    # Somebody may have removed it meanwhile: then it locks nothing.
                    if _is_at(descriptor, name):
                        yield
                        return
                finally:
                    _unlock(descriptor)
        finally:
            os.close(descriptor)
        if time.monotonic() > deadline:
            raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked")
        time.sleep(_PAUSE_S)


def _try_lock(descriptor: int) -> bool:
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_at(descriptor: int, name: str) -> bool:
    if _IS_WINDOWS:  # which lets nobody remove an open file
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(name))
    except FileNotFoundError:
        return False


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    def opener(name: str, flags: int) -> int:
        # Without waiting for the other end, if it is a pipe.
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    with open(path, "rb", opener=opener) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        data = file.read(MAX_FILE_SIZE + 1)
    if len(data) > MAX_FILE_SIZE:
        raise _too_large()
    return data, status


def _too_large() -> OSError:
    return OSError(errno.EFBIG, "larger than 1 MiB")


def _patiently(operation: Callable[[], _Result]) -> _Result:
    """Do it again while Windows refuses, as it does while another has the file open."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            return operation()
        except PermissionError:
            if not _IS_WINDOWS or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)
