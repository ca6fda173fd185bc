"""Epoch keys by key id: make, find, retire (``protocol.md#epoch-statement``).

Pure: the time comes in as an argument, in Unix milliseconds.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from stainedglass_output_protection.errors import (
    ConfigurationError,
    KeysUnavailableError,
)
from stainedglass_output_protection.protocol.constants import (
    MAX_EPOCH_LIFE_MS,
    MIN_EPOCH_LIFE_MS,
)
from stainedglass_output_protection.protocol.encoding import encode_base64
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.keys import exchange
from stainedglass_output_protection.protocol.statement import Statement, make_statement


class EpochKey:
    """One epoch's response key and signed statement."""

    __slots__ = ("_private_key", "encoded_statement", "public_key", "statement")

    def __init__(self, private_key: X25519PrivateKey, statement: Statement) -> None:
        self._private_key = private_key
        self.statement = statement
        self.encoded_statement: bytes = statement.encode()
        self.public_key: bytes = statement.response_public_key

    @property
    def public_key_base64(self) -> str:
        """The public half as the response header carries it."""
        return encode_base64(self.public_key).decode("ascii")

    def exchange(self, client_public_key: bytes) -> bytes:
        """Return the shared secret with a client's key."""
        return exchange(self._private_key, client_public_key)

    def __repr__(self) -> str:
        return f"EpochKey(key_id={self.statement.key_id.hex()!r}, <redacted>)"


class KeyRing:
    """The current epoch key and those that have not retired yet.

    ``period_ms`` is the time between rotations; a private half lives two of them. The
    caller must call ``rotate`` once before the first use and then every period.
    """

    def __init__(self, identity: IdentityKey, *, period_ms: int) -> None:
        if not 0 < 2 * period_ms <= MAX_EPOCH_LIFE_MS:
            raise ConfigurationError(
                "The key refresh time must be above zero and at most 24 hours."
            )
        self.identity = identity
        self.period_ms = period_ms
        self._epochs: dict[bytes, EpochKey] = {}
        self._current: EpochKey | None = None
        self._newest_epoch = 0

    def rotate(self, now_ms: int) -> EpochKey:
        """Make a new current epoch key, retire what is due, and return the new one."""
        epoch = max(now_ms, self._newest_epoch + 1)
        private_key = X25519PrivateKey.generate()
        statement = make_statement(
            epoch=epoch,
            not_after=epoch + max(2 * self.period_ms, MIN_EPOCH_LIFE_MS),
            response_public_key=private_key.public_key().public_bytes_raw(),
            identity=self.identity.public_key,
            sign=self.identity.sign,
        )
        self._newest_epoch = epoch
        previous, self._current = self._current, EpochKey(private_key, statement)
        # Whatever the clock says, there is never a third.
        kept = [self._current] if previous is None else [previous, self._current]
        self._epochs = {key.statement.key_id: key for key in kept}
        self.retire(now_ms)
        return self._current

    def retire(self, now_ms: int) -> None:
        """Drop every private half that is two periods old."""
        for key_id, key in list(self._epochs.items()):
            if self._retires_at(key) <= now_ms:
                del self._epochs[key_id]
                if key is self._current:
                    self._current = None

    def current(self, now_ms: int) -> EpochKey:
        """Return the key that answers now: a new one if the last has retired.

        Raises:
            KeysUnavailableError: ``rotate`` has never been called.
        """
        if not self._newest_epoch:
            raise KeysUnavailableError(
                "The server has no usable epoch key: its lifespan has not run."
            )
        # A rotation may come late, after a pause of the whole process for instance.
        key = self._current
        if key is None or self._retires_at(key) <= now_ms:
            return self.rotate(now_ms)
        return key

    def by_id(self, key_id: bytes, now_ms: int) -> EpochKey | None:
        """Return the key that has not retired and has this key id."""
        key = self._epochs.get(key_id)
        return key if key is not None and now_ms < self._retires_at(key) else None

    def _retires_at(self, key: EpochKey) -> int:
        return key.statement.epoch + 2 * self.period_ms

    def __repr__(self) -> str:
        return f"KeyRing({self.identity.fingerprint!r}, {len(self._epochs)} epochs)"
