"""The ratchet from which a fleet's epoch secrets come (``protocol.md#fleet``)."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from stainedglass_output_protection.protocol.constants import (
    EPOCH_SECRET_LABEL,
    RATCHET_LABEL,
    SECRET_SIZE,
)


class Ratchet:
    """The ratchet secret of epoch ``index``; it turns forward only.

    Whoever has it can compute the secrets of that epoch and of all later ones.
    """

    __slots__ = ("_secret", "index")

    def __init__(self, index: int, secret: bytes) -> None:
        self.index = index
        self._secret = secret

    def take(self) -> bytes:
        """Return the epoch secret of ``index`` and go on to the next epoch."""
        epoch_secret = _expand(self._secret, EPOCH_SECRET_LABEL)
        self.skip_to(self.index + 1)
        return epoch_secret

    def skip_to(self, index: int) -> None:
        """Go on to epoch ``index``, if it is a later one. Takes 3 us for each epoch."""
        while self.index < index:
            self._secret = _expand(self._secret, RATCHET_LABEL)
            self.index += 1

    def reveal(self) -> bytes:
        """Return the ratchet secret itself. The caller must keep it as the ratchet does."""
        return self._secret

    def __repr__(self) -> str:
        return f"Ratchet({self.index}, <redacted>)"


def _expand(secret: bytes, label: bytes) -> bytes:
    return HKDFExpand(SHA256(), SECRET_SIZE, label).derive(secret)
