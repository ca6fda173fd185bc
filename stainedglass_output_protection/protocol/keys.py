"""X25519 client keys: parse, refuse, encode, exchange (``protocol.md#client-key``)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)

from stainedglass_output_protection.errors import ClientKeyError, MalformedFrameError
from stainedglass_output_protection.protocol.constants import KEY_SIZE
from stainedglass_output_protection.protocol.encoding import (
    decode_base64,
    encode_base64,
)

_FIELD_PRIME = 2**255 - 19
_TOP_BIT_CLEARED = 2**255 - 1
_HEADER_VALUE_SIZE = 44

# The u-coordinates of every point of order 1, 2, 4 and 8, on curve and twist.
_LOW_ORDER = frozenset(
    {
        0,
        1,
        _FIELD_PRIME - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


def is_low_order(public_key: bytes) -> bool:
    """Tell whether every exchange with ``public_key`` would give all zeros."""
    coordinate = int.from_bytes(public_key, "little") & _TOP_BIT_CLEARED
    return coordinate % _FIELD_PRIME in _LOW_ORDER


def parse_client_key(value: str) -> bytes:
    """Return the 32 bytes of a client key header's value.

    Raises:
        ClientKeyError: not the canonical base64 of 32 bytes, or of low order.
    """
    if len(value) == _HEADER_VALUE_SIZE and value.isascii():
        key = decode_base64(value.encode("ascii"))
        if key is not None and len(key) == KEY_SIZE and not is_low_order(key):
            return key
    raise ClientKeyError(
        "The client public key is not a usable X25519 key: send the canonical "
        "standard base64 (44 characters, padded) of its 32 bytes.",
        code="client_key_malformed",
    )


def encode_client_key(public_key: bytes) -> str:
    """Return a client key as its header carries it."""
    return encode_base64(public_key).decode("ascii")


def exchange(private_key: X25519PrivateKey, public_key: bytes) -> bytes:
    """Return the shared secret of two keys.

    Raises:
        MalformedFrameError: the public key is of low order.
    """
    try:
        return private_key.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:
        raise MalformedFrameError("A public key is of low order.") from None


class ClientKeyPair:
    """One X25519 key pair, for one attempt of one request.

    The caller must not keep it for a second attempt.
    """

    __slots__ = ("_private_key", "public_key")

    def __init__(self, private_key: X25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key: bytes = private_key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> ClientKeyPair:
        """Make a fresh pair."""
        return cls(X25519PrivateKey.generate())

    @property
    def header_value(self) -> str:
        """The public half as the request header carries it."""
        return encode_client_key(self.public_key)

    def exchange(self, server_public_key: bytes) -> bytes:
        """Return the shared secret with the server's response key.

        Raises:
            MalformedFrameError: that key is of low order.
        """
        return exchange(self._private_key, server_public_key)

    def __repr__(self) -> str:
        return f"ClientKeyPair(public_key={self.header_value!r}, <redacted>)"
