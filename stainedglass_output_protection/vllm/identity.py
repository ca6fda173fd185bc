"""Where a server process gets its identity key from: a file, or made for this run.

Specification: ``protocol.md#identity``. The key itself is in ``protocol.identity``.
"""

from __future__ import annotations

import atexit
import errno
import functools
import os
import shutil
import stat
import tempfile
from pathlib import Path

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.vllm.environment import IDENTITY_VARIABLE

_MAKE_ONE = "Make one: openssl genpkey -algorithm ed25519 -out FILE && chmod 600 FILE"
_MAX_FILE_SIZE = 16 * 1024
# How the PKCS #8 form of an Ed25519 key begins, with and without its armour.
_PASTED_KEY = ("PRIVATE KEY", "MC4CAQ")


def read_identity_file(path: Path) -> IdentityKey:
    """Return the identity in a PEM file that nobody else may read.

    Raises:
        ConfigurationError: it cannot be read, others can read it, or it is no such key.
    """
    if any(sign in str(path) for sign in _PASTED_KEY):
        # Never show it: it is the secret.
        raise ConfigurationError(
            f"{IDENTITY_VARIABLE} holds a key itself. Set it to the path of a file "
            "that holds the key."
        )
    try:
        return IdentityKey.from_pem(_read_private(path))
    except OSError as error:
        reason = f"cannot be read ({error.strerror}). Check the path, or the mount. "
        reason += _MAKE_ONE
    except _SharedFileError as error:
        reason = str(error)
    except ConfigurationError as error:
        reason = f"is refused: {str(error).rstrip('.')}. {_MAKE_ONE}"
    raise ConfigurationError(f"{IDENTITY_VARIABLE}: the file {path} {reason}")


def write_identity_file(identity: IdentityKey) -> Path:
    """Write ``identity`` where only this user can read it, until this process ends.

    On Linux that is a file in memory that goes with the process however it ends.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sg-vllm-identity")
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, identity.to_pem())
        if path.exists():
            return path
        os.close(descriptor)
    folder = Path(tempfile.mkdtemp(prefix="sg-vllm-"))
    atexit.register(_remove, folder, os.getpid())
    path = folder / "identity.pem"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(identity.to_pem())
    return path


def process_identity(path: Path | None) -> IdentityKey:
    """Return the identity in ``path``, or without one this process's own."""
    return _generated_identity() if path is None else read_identity_file(path)


@functools.cache
def _generated_identity() -> IdentityKey:
    return IdentityKey.generate()


class _SharedFileError(Exception):
    """Others can read the file; the message goes behind its name."""


def _read_private(path: Path) -> bytes:
    # Without waiting for the other end, if it is a pipe.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        _refuse_shared(path, status)
        return file.read(_MAX_FILE_SIZE)


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
        raise _SharedFileError(
            f"is refused: others may read or change it. Run: chmod 600 {path}"
        )


def _remove(folder: Path, owner: int) -> None:
    # A forked child inherits this; the folder belongs to the process that made it.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
