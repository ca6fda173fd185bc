"""The epoch statement: build, sign, parse, encode (``protocol.md#epoch-statement``).

Whether to accept one is decided in ``trust.py``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

from stainedglass_output_protection.errors import MalformedFrameError
from stainedglass_output_protection.protocol.constants import (
    EPOCH_LABEL,
    HASH_SIZE,
    KEY_ID_SIZE,
    KEY_SIZE,
    MAX_EPOCH_LIFE_MS,
    NO_EVIDENCE,
    SIGNATURE_SIZE,
    STATEMENT_LABEL,
    VERSION,
)

_FIXED = struct.Struct(f">BQQ{KEY_SIZE}sB")
_SUITE_SIZE = 1 + HASH_SIZE


@dataclass(frozen=True)
class Statement:
    """A server's signed statement about one epoch. Times are Unix milliseconds."""

    epoch: int
    not_after: int
    response_public_key: bytes
    identity: bytes
    signature: bytes
    suites: tuple[tuple[int, bytes], ...] = ()
    evidence_hash: bytes = NO_EVIDENCE

    @cached_property
    def body(self) -> bytes:
        """The part that is the same on every replica."""
        fixed = _FIXED.pack(
            VERSION,
            self.epoch,
            self.not_after,
            self.response_public_key,
            len(self.suites),
        )
        suites = b"".join(bytes([number]) + digest for number, digest in self.suites)
        return fixed + suites + self.identity

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the labelled body."""
        return hashlib.sha256(EPOCH_LABEL + self.body).digest()

    @property
    def key_id(self) -> bytes:
        """The epoch's name, for look-up only."""
        return self.digest[:KEY_ID_SIZE]

    @property
    def signed_message(self) -> bytes:
        """What the identity signs."""
        return STATEMENT_LABEL + self.digest + self.evidence_hash

    def encode(self) -> bytes:
        """Return the statement's bytes."""
        return self.body + self.evidence_hash + self.signature

    @classmethod
    def parse_prefix(cls, data: bytes, offset: int = 0) -> tuple[Statement, int]:
        """Parse the statement at ``offset``; return it and where it ends.

        Raises:
            MalformedFrameError: it is cut short, of another version, or its times
                or suites are out of order.
        """
        try:
            version, epoch, not_after, public_key, count = _FIXED.unpack_from(
                data, offset
            )
        except struct.error:
            raise MalformedFrameError("The epoch statement is cut short.") from None
        offset += _FIXED.size
        suites_end = offset + count * _SUITE_SIZE
        end = suites_end + KEY_SIZE + HASH_SIZE + SIGNATURE_SIZE
        if len(data) < end:
            raise MalformedFrameError("The epoch statement is cut short.")
        suites = tuple(
            (data[at], data[at + 1 : at + _SUITE_SIZE])
            for at in range(offset, suites_end, _SUITE_SIZE)
        )
        numbers = [number for number, _ in suites]
        life = not_after - epoch
        if (
            version != VERSION
            or not 0 < life <= MAX_EPOCH_LIFE_MS
            or numbers != sorted(set(numbers))
        ):
            raise MalformedFrameError("The epoch statement is malformed.")
        evidence_at = suites_end + KEY_SIZE
        signature_at = evidence_at + HASH_SIZE
        statement = cls(
            epoch=epoch,
            not_after=not_after,
            response_public_key=public_key,
            identity=data[suites_end:evidence_at],
            signature=data[signature_at:end],
            suites=suites,
            evidence_hash=data[evidence_at:signature_at],
        )
        return statement, end


def make_statement(
    *,
    epoch: int,
    not_after: int,
    response_public_key: bytes,
    identity: bytes,
    sign: Callable[[bytes], bytes],
    suite_public_keys: Mapping[int, bytes] = MappingProxyType({}),
    evidence_hash_of: Callable[[bytes], bytes] = lambda digest: NO_EVIDENCE,
) -> Statement:
    """Return a signed statement; ``sign`` is the identity key's ``sign``.

    ``evidence_hash_of`` is given the digest, which evidence has as its report data.
    """
    suites = tuple(
        (number, hashlib.sha256(key).digest())
        for number, key in sorted(suite_public_keys.items())
    )
    statement = Statement(epoch, not_after, response_public_key, identity, b"", suites)
    statement = replace(statement, evidence_hash=evidence_hash_of(statement.digest))
    return replace(statement, signature=sign(statement.signed_message))
