"""Where a server process gets its identity key from: a file, or made for this run.

Specification: ``protocol.md#identity``. The key itself is in ``protocol.identity``.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.environment import IDENTITY_VARIABLE
from stainedglass_output_protection.hosting.private_files import make_private_file
from stainedglass_output_protection.hosting.secret_files import read_secret_file
from stainedglass_output_protection.protocol.identity import IdentityKey

MAKE_IDENTITY: Final = "Make one: sg-vllm keys generate --identity FILE"
# How the PKCS #8 form of an Ed25519 key begins, with and without its armour.
_PASTED_KEY = ("PRIVATE KEY", "MC4CAQ")

_WHICH = (
    "If clients have pinned this server, restore its file. A new server has none yet. "
)


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
    return read_secret_file(
        path,
        IdentityKey.from_pem,
        name=IDENTITY_VARIABLE,
        advice=_WHICH + MAKE_IDENTITY,
    )


def write_identity_file(identity: IdentityKey) -> Path:
    """Write ``identity`` where only this user can read it, until this process ends."""
    return make_private_file("identity.pem", identity.to_pem())


def process_identity(path: Path | None) -> IdentityKey:
    """Return the identity in ``path``, or without one this process's own."""
    return _generated_identity() if path is None else read_identity_file(path)


@functools.cache
def _generated_identity() -> IdentityKey:
    return IdentityKey.generate()
