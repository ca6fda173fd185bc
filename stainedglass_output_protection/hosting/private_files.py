"""Files with secrets: read those nobody else may read, make those that children read."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_MAX_FILE_SIZE = 16 * 1024
# In memory on Linux, so what lies there is not written to a disk.
_MEMORY_FOLDER = "/dev/shm"  # noqa: S108 - only ever folders of our own in it
_PREFIX = "sg-vllm-"
_LOCK = ".sg-vllm-lock"


class SharedFileError(Exception):
    """Others can read the file; the message goes behind its name."""


def read_private_file(path: Path) -> bytes:
    """Return the beginning (16 KiB) of a regular file that nobody else may read.

    Raises:
        OSError: it cannot be read, or is no regular file.
        SharedFileError: others can read it.
    """
    descriptor = open_private_file(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_MAX_FILE_SIZE)


def open_private_file(path: Path, flags: int) -> int:
    """Open what ``read_private_file`` would read; the caller closes the descriptor.

    Raises:
        OSError, SharedFileError: as with ``read_private_file``.
    """
    # Without waiting for the other end, if it is a pipe.
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        _refuse_shared(path, status)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_private_file(name: str, content: bytes) -> Path:
    """Write ``content`` where only this user can read it, until this process ends.

    On Linux that is a file in memory that goes with the process however it ends; child
    processes may open it, for reading and writing, by the path.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(f"sg-vllm-{name}")
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, content)
        if path.exists():
            return path
        os.close(descriptor)
    path = make_private_folder() / name
    write_new_file(path, content)
    return path


def make_private_folder() -> Path:
    """Return a new folder that only this user can enter; it goes with this process.

    A process that is killed leaves it behind, and the next one of the same user that
    makes a folder in memory removes it. This process holds a lock in its folder for as
    long as it lives, and so do children that it forks.
    """
    if not os.access(_MEMORY_FOLDER, os.W_OK | os.X_OK):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    else:
        _remove_abandoned_folders()
        while True:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_MEMORY_FOLDER))
            if _hold(folder):
                break
            # Another process that is starting took it for abandoned, and removes it.
    atexit.register(_remove, folder, os.getpid())
    return folder


def write_new_file(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, for this user only.

    Raises:
        OSError: it is there already, or cannot be written; nothing is left then.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    """Refuse a key that others can read.

    A group may read it only if the file is not ours, as with a secret that Kubernetes
    mounts for root and a group: then the group is the only way to give it to us.
    """
    if os.name != "posix":
        return
    ours = status.st_uid == os.geteuid()
    forbidden = 0o077 if ours else 0o037
    if stat.S_IMODE(status.st_mode) & forbidden:
        raise SharedFileError(
            f"is refused: others may read or change it. Run: chmod 600 {path}"
        )


def _remove(folder: Path, owner: int) -> None:
    # A forked child inherits this; the folder belongs to the process that made it.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _hold(folder: Path) -> bool:
    """Lock a new folder until this process ends; tell whether it is still ours."""
    try:
        path = folder / _LOCK
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileNotFoundError:
        return False
    if _lock(descriptor) and _is_at(descriptor, path):
        return True  # Left open: the kernel drops the lock, however this process ends.
    os.close(descriptor)
    return False


def _remove_abandoned_folders() -> None:
    """Remove this user's folders in memory that no living process holds.

    Locks count across containers that share the memory, where process ids would not.
    What has no lock file is left alone: it may be about to get one.
    """
    for folder in Path(_MEMORY_FOLDER).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return
    path = folder / _LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        # While it is held, nobody else begins to use or to remove the folder.
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if is_regular and _lock(descriptor) and _is_at(descriptor, path):
            # Follows no link: neither one in its place nor one inside.
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Take the lock, or return False if somebody holds it."""
    if sys.platform == "win32":
        return True  # which has no such folder
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
