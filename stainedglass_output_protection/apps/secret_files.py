"""Reads the files with secrets that options name: only those nobody else may use."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from stainedglass_output_protection.errors import ConfigurationError

# With these there is no file: what was given may be the secret itself.
_NO_FILE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def read_secret_file(path: Path, option: str, *, limit: int) -> bytes:
    """Return what the file holds that was given for ``option``, such as --token-file.

    What is no regular file (a pipe of the shell) is read without a look at its mode.

    Raises:
        ConfigurationError: it cannot be read, others may read or change it, or it holds
            more than ``limit`` bytes. The message has neither its content nor what was
            given in place of a file's name.
    """
    try:
        with path.open("rb") as file:
            require_private(path, os.fstat(file.fileno()), option)
            data = file.read(limit + 1)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise ConfigurationError(
                f"{option}: a file's name is needed, and there is no such file. What was "
                "given is not shown, since it may be the secret itself."
            ) from None
        raise ConfigurationError(
            f"{option}: the file {path} cannot be read ({error.strerror})."
        ) from None
    if len(data) > limit:
        raise ConfigurationError(
            f"{option}: the file {path} is larger than {limit} bytes."
        )
    return data


def require_private(path: Path, status: os.stat_result, option: str) -> None:
    """Return if nobody else can read or change the file with this ``status``.

    A group may read it only if the file is not ours: a secret that Kubernetes mounts.

    Raises:
        ConfigurationError: others can.
    """
    if os.name != "posix" or not stat.S_ISREG(status.st_mode):
        return
    ours = status.st_uid == os.geteuid()
    if stat.S_IMODE(status.st_mode) & (0o077 if ours else 0o037):
        raise ConfigurationError(
            f"{option}: the file {path} is refused: others may read or change it. Run: "
            f"chmod 600 {path}"
        )
