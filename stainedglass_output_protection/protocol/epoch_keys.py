"""The private keys of one epoch, all from one secret (``protocol.md#epoch-keys``)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from stainedglass_output_protection.protocol.constants import KEY_SIZE, SEED_LABEL
from stainedglass_output_protection.protocol.keys import exchange
from stainedglass_output_protection.protocol.suites import SUITE_NUMBERS, SuiteKey

_RESPONSE_USE = 0


class EpochKeys:
    """One response key and one key for each request suite: no key has two uses.

    The caller must drop the object when the epoch retires.
    """

    __slots__ = ("_response_key", "_suite_keys", "response_public_key")

    def __init__(self, epoch_secret: bytes) -> None:
        self._response_key = X25519PrivateKey.from_private_bytes(
            _seed(epoch_secret, _RESPONSE_USE)
        )
        self._suite_keys = {
            number: SuiteKey.from_seed(number, _seed(epoch_secret, number))
            for number in SUITE_NUMBERS
        }
        self.response_public_key: bytes = (
            self._response_key.public_key().public_bytes_raw()
        )

    @property
    def suite_public_keys(self) -> dict[int, bytes]:
        """The public half for each suite, by ascending number."""
        return {number: key.public_key for number, key in self._suite_keys.items()}

    def exchange(self, client_public_key: bytes) -> bytes:
        """Return the shared secret of the response key with a client's key."""
        return exchange(self._response_key, client_public_key)

    def open(self, suite: int, ciphertext: bytes, info: bytes) -> bytes:
        """Return what was sealed to the key of ``suite``, which must be a known one.

        Raises:
            DecryptionError: it does not open.
        """
        return self._suite_keys[suite].open(ciphertext, info)

    def __repr__(self) -> str:
        return "EpochKeys(<redacted>)"


def _seed(epoch_secret: bytes, use: int) -> bytes:
    return HKDFExpand(SHA256(), KEY_SIZE, SEED_LABEL + bytes([use])).derive(
        epoch_secret
    )
