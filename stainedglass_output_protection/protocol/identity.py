"""The server's long-lived Ed25519 identity and its fingerprint.

Specification: ``protocol.md#identity``. Reading files is the caller's business.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.constants import IDENTITY_LABEL
from stainedglass_output_protection.protocol.encoding import (
    decode_base64,
    encode_base64,
)

_FINGERPRINT = re.compile(r"SHA256:([A-Za-z0-9+/]{43})")


def fingerprint_of(identity: bytes) -> str:
    """Return the fingerprint of a 32-byte identity public key."""
    digest = hashlib.sha256(IDENTITY_LABEL + identity).digest()
    return "SHA256:" + encode_base64(digest).decode("ascii").rstrip("=")


def parse_pins(pins: str | Iterable[str]) -> frozenset[str]:
    """Return the set of fingerprints in a comma or space separated text, or iterable.

    Raises:
        ConfigurationError: there is none, or one is not a fingerprint.
    """
    items = re.split(r"[\s,]+", pins.strip()) if isinstance(pins, str) else list(pins)
    for item in items:
        match = _FINGERPRINT.fullmatch(item)
        if match is None or decode_base64(f"{match[1]}=".encode("ascii")) is None:
            raise ConfigurationError(
                "A pinned identity must be a fingerprint as the server prints it at "
                "its start: 'SHA256:' and 43 characters of base64."
            )
    if not items:
        raise ConfigurationError("The set of pinned identities is empty.")
    return frozenset(items)


def verify_signature(identity: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether ``signature`` over ``message`` verifies under ``identity``."""
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class IdentityKey:
    """The private half of an identity. Its ``repr`` shows the fingerprint only."""

    __slots__ = ("_private_key", "fingerprint", "public_key")

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key: bytes = private_key.public_key().public_bytes_raw()
        self.fingerprint: str = fingerprint_of(self.public_key)

    @classmethod
    def generate(cls) -> IdentityKey:
        """Make a fresh identity."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, data: bytes) -> IdentityKey:
        """Read an unencrypted PKCS #8 PEM file's bytes.

        Raises:
            ConfigurationError: it is not an Ed25519 private key.
        """
        # Here: clients read no PEM files, and start sooner without it.
        from cryptography.hazmat.primitives import serialization

        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(
                "The identity file does not hold an unencrypted Ed25519 private key."
            )
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the key as PKCS #8 PEM. The caller must keep it secret."""
        from cryptography.hazmat.primitives import serialization

        return self._private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message``."""
        return self._private_key.sign(message)

    def __repr__(self) -> str:
        return f"IdentityKey({self.fingerprint!r}, <redacted>)"
