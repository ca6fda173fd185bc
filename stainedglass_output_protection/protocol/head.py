"""The head of frame 0 (``protocol.md#head``)."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from stainedglass_output_protection.errors import (
    ForeignResponseError,
    MalformedFrameError,
    UnexpectedParametersError,
)
from stainedglass_output_protection.protocol.constants import (
    CLIENT_HASH_SIZE,
    CONTAINER_FIELDS,
    NONCE_SEED_SIZE,
    PROFILE_OUTPUT,
    SUITE_X25519,
    VERSION,
)
from stainedglass_output_protection.protocol.statement import Statement

_FIXED = struct.Struct(f">BBBB{CLIENT_HASH_SIZE}s{NONCE_SEED_SIZE}s")


@dataclass(frozen=True)
class Parameters:
    """Version, suite, profile and container: what one side asks, the other answers."""

    version: int = VERSION
    suite: int = SUITE_X25519
    profile: int = PROFILE_OUTPUT
    container: int = CONTAINER_FIELDS


def client_hash(client_public_key: bytes) -> bytes:
    """Return the eight bytes that tell a foreign answer from a damaged one."""
    return hashlib.sha256(client_public_key).digest()[:CLIENT_HASH_SIZE]


def encode_head(
    parameters: Parameters,
    *,
    client_public_key: bytes,
    response_nonce: bytes,
    statement: bytes,
) -> bytes:
    """Return the head's bytes; ``statement`` is an encoded statement."""
    fixed = _FIXED.pack(
        parameters.version,
        parameters.suite,
        parameters.profile,
        parameters.container,
        client_hash(client_public_key),
        response_nonce,
    )
    return fixed + statement


@dataclass(frozen=True)
class Head:
    """A parsed head, made with the asked parameters for the client's own key.

    Nothing in it is believed for being there: the statement is still to be accepted.
    """

    response_nonce: bytes
    statement: Statement
    encoded: bytes

    @classmethod
    def parse_prefix(
        cls, data: bytes, offset: int, *, asked: Parameters, client_public_key: bytes
    ) -> Head:
        """Parse the head at ``offset``.

        Raises:
            UnexpectedParametersError: its parameters are not the ``asked`` ones.
            ForeignResponseError: it was made for another client's key.
            MalformedFrameError: it is cut short or its statement is malformed.
        """
        try:
            version, suite, profile, container, digest, nonce = _FIXED.unpack_from(
                data, offset
            )
        except struct.error:
            raise MalformedFrameError("Frame 0 is cut short.") from None
        if Parameters(version, suite, profile, container) != asked:
            raise UnexpectedParametersError(
                "The answer is in a version, suite, profile or container that was "
                "not asked for. Use releases of client and server that fit together."
            )
        if digest != client_hash(client_public_key):
            raise ForeignResponseError(
                "The answer was made for another client's key: a cache on the way "
                "replayed it. Switch that cache off for these routes."
            )
        statement, end = Statement.parse_prefix(data, offset + _FIXED.size)
        return cls(nonce, statement, data[offset:end])
