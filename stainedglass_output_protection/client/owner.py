"""The secret by which a server knows that two requests come from the same owner."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from pathlib import Path

from stainedglass_output_protection.client.private_files import (
    locked,
    read_file,
    replace_file,
)
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.constants import SECRET_SIZE
from stainedglass_output_protection.protocol.encoding import (
    decode_base64,
    encode_base64,
)

OWNER_FILE_VARIABLE = "SG_OWNER_SECRET_FILE"


class Owner:
    """Holds 32 secret bytes, which neither its ``repr`` nor an error shows."""

    __slots__ = ("secret",)

    def __init__(self, secret: bytes) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return "Owner(<redacted>)"


def load_owner(path: Path | None) -> Owner:
    """Return the owner in the file, which is made if it is missing.

    Without a path it is a fresh one, which nobody else has. The file holds the base64
    of 32 bytes; its folder must be there. Processes that make it at the same time end
    with the same owner.

    Raises:
        ConfigurationError: the file can be neither read nor made, others may read or
            change it, or it holds something else.
    """
    if path is None:
        return Owner(secrets.token_bytes(SECRET_SIZE))
    require_path(path)
    try:
        return _read_or_make(path)
    except OSError as error:
        reason = f"cannot be used ({error.strerror}). Check the path, or the mount."
    except _RefusedError as error:
        reason = f"is refused: {error}"
    raise ConfigurationError(
        f"{OWNER_FILE_VARIABLE}, or owner_file: the file {path} {reason}"
    )


def require_path(path: Path) -> None:
    """Return if ``path`` is not the secret itself, which must never be shown.

    Raises:
        ConfigurationError: it is.
    """
    if _parse(str(path).encode("utf-8", "replace")) is not None:
        raise ConfigurationError(
            f"{OWNER_FILE_VARIABLE} holds a secret itself. Set it to the path of a "
            "file that holds the secret."
        )


class _RefusedError(Exception):
    """The file is not acceptable; the message goes behind its name."""


def _read_or_make(path: Path) -> Owner:
    try:
        return _read(path)
    except FileNotFoundError:
        if not path.parent.is_dir():
            message = "its folder is missing"
            raise FileNotFoundError(errno.ENOENT, message) from None
    with locked(path):
        try:
            return _read(path)
        except FileNotFoundError:
            secret = secrets.token_bytes(SECRET_SIZE)
            replace_file(path, encode_base64(secret) + b"\n")
            return Owner(secret)


def _read(path: Path) -> Owner:
    data, status = read_file(path)
    _refuse_shared(path, status)
    secret = _parse(data)
    if secret is None:
        raise _RefusedError(
            "it does not hold the base64 of 32 bytes. Remove it and one is made, "
            "which owns nothing yet; or restore it."
        )
    return Owner(secret)


def _parse(text: bytes) -> bytes | None:
    secret = decode_base64(text.strip())
    return secret if secret is not None and len(secret) == SECRET_SIZE else None


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    """Refuse a secret that others can read or change.

    A group may read it only if the file is not ours: a secret that Kubernetes mounts.
    """
    if sys.platform == "win32":
        return
    ours = status.st_uid == os.geteuid()
    if stat.S_IMODE(status.st_mode) & (0o077 if ours else 0o037):
        raise _RefusedError(f"others may read or change it. Run: chmod 600 {path}")
