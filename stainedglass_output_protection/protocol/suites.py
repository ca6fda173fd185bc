"""Request suites: HPKE (RFC 9180) in one shot, by number (``protocol.md#suites``).

The number names the exact definition of the KEM; vectors pin its bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)

from stainedglass_output_protection.errors import (
    ConfigurationError,
    DecryptionError,
    KeyDocumentError,
)
from stainedglass_output_protection.protocol.constants import (
    KEY_SIZE,
    SUITE_MLKEM768_X25519,
    SUITE_X25519,
)

_MLKEM_SEED_SIZE = 64
_MLKEM_PUBLIC_SIZE = 1184


class _Suite(NamedTuple):
    name: str
    hpke: hpke.Suite
    public_key_size: int


_SUITES: Final = {
    SUITE_X25519: _Suite(
        "x25519",
        hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
        KEY_SIZE,
    ),
    SUITE_MLKEM768_X25519: _Suite(
        "mlkem768-x25519",
        hpke.Suite(
            hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM
        ),
        _MLKEM_PUBLIC_SIZE + KEY_SIZE,
    ),
}

SUITE_NUMBERS: Final = tuple(sorted(_SUITES))
SUITE_NAMES: Final = {suite.name: number for number, suite in _SUITES.items()}


class SuiteKey:
    """The private half of one epoch's key for one request suite."""

    __slots__ = ("_hpke", "_private_key", "public_key")

    def __init__(self, number: int, private_key: Any, public_key: bytes) -> None:
        self._hpke = _SUITES[number].hpke
        self._private_key = private_key
        self.public_key = public_key

    @classmethod
    def from_seed(cls, number: int, seed: bytes) -> SuiteKey:
        """Return the key that 32 bytes of seed determine.

        Raises:
            ConfigurationError: this build of ``cryptography`` lacks ML-KEM.
        """
        if number == SUITE_X25519:
            private_key = X25519PrivateKey.from_private_bytes(seed)
            public_key = private_key.public_key().public_bytes_raw()
            return cls(number, private_key, public_key)
        # draft-connolly-cfrg-xwing-kem, section 5.2: expandDecapsulationKey.
        expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_SIZE + KEY_SIZE)
        try:
            mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_SIZE])
        except UnsupportedAlgorithm:
            raise _no_mlkem() from None
        x25519 = X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_SIZE:])
        return cls(
            number,
            hpke.MLKEM768X25519PrivateKey(mlkem, x25519),
            mlkem.public_key().public_bytes_raw()
            + x25519.public_key().public_bytes_raw(),
        )

    def open(self, ciphertext: bytes, info: bytes) -> bytes:
        """Return what was sealed to this key.

        Raises:
            DecryptionError: it was changed, or sealed to another key or ``info``.
        """
        try:
            return self._hpke.decrypt(ciphertext, self._private_key, info)
        except (InvalidTag, ValueError):
            raise DecryptionError("A sealed request does not open.") from None

    def __repr__(self) -> str:
        return "SuiteKey(<redacted>)"


def seal(number: int, public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Return ``plaintext`` sealed to a suite's public key: encapsulated key, ciphertext.

    Raises:
        KeyDocumentError: the key is not one of that suite.
        ConfigurationError: this build of ``cryptography`` lacks ML-KEM.
    """
    suite = _SUITES[number]
    try:
        if len(public_key) != suite.public_key_size:
            raise ValueError
        key: Any
        if number == SUITE_X25519:
            key = X25519PublicKey.from_public_bytes(public_key)
        else:
            key = hpke.MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(public_key[:_MLKEM_PUBLIC_SIZE]),
                X25519PublicKey.from_public_bytes(public_key[_MLKEM_PUBLIC_SIZE:]),
            )
        return suite.hpke.encrypt(plaintext, key, info)
    except UnsupportedAlgorithm:
        raise _no_mlkem() from None
    except ValueError:
        raise KeyDocumentError(
            "A public key in the key document is unusable."
        ) from None


def _no_mlkem() -> ConfigurationError:
    return ConfigurationError(
        "This build of the package cryptography has no ML-KEM. Install its wheel, "
        "version 48 or newer; a build of your own needs OpenSSL 3.5 or newer."
    )
