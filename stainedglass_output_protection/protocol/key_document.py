"""The key document: a statement with what it only names (``protocol.md#key-document``)."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from stainedglass_output_protection.errors import (
    KeyDocumentError,
    MalformedFrameError,
)
from stainedglass_output_protection.protocol.constants import (
    DOCUMENT_PREFIX,
    MAX_DOCUMENT_TEXT,
    NO_EVIDENCE,
)
from stainedglass_output_protection.protocol.encoding import (
    decode_base64,
    encode_base64,
)
from stainedglass_output_protection.protocol.statement import Statement

_RETIRES = struct.Struct(">Q")
_EVIDENCE_SIZE = struct.Struct(">I")
_KEY_SIZE = struct.Struct(">H")


@dataclass(frozen=True)
class KeyDocument:
    """A statement, its suites' public keys, its evidence, and when its keys go.

    ``retires_at`` (Unix milliseconds) is a hint that nobody signed. Whether to accept
    the statement is decided in ``trust.py``.
    """

    statement: Statement
    suite_public_keys: dict[int, bytes]
    retires_at: int
    evidence: bytes = b""

    def to_text(self) -> str:
        """Return the document's text form."""
        parts = [
            self.statement.encode(),
            _RETIRES.pack(self.retires_at),
            _EVIDENCE_SIZE.pack(len(self.evidence)),
            self.evidence,
        ]
        for number, _ in self.statement.suites:
            key = self.suite_public_keys[number]
            parts += [_KEY_SIZE.pack(len(key)), key]
        return DOCUMENT_PREFIX + encode_base64(b"".join(parts)).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> KeyDocument:
        """Parse the text form and check what the statement says of the rest.

        Raises:
            KeyDocumentError: it is too large, not canonical, cut short, or a key or the
                evidence is not the one that the statement names.
        """
        if len(text) > MAX_DOCUMENT_TEXT or not text.startswith(DOCUMENT_PREFIX):
            raise _malformed()
        encoded = text[len(DOCUMENT_PREFIX) :].encode("utf-8", "replace")
        data = decode_base64(encoded)
        if data is None:
            raise _malformed()
        try:
            return cls._parse(data)
        except (struct.error, MalformedFrameError):
            raise _malformed() from None

    @classmethod
    def _parse(cls, data: bytes) -> KeyDocument:
        statement, at = Statement.parse_prefix(data)
        (retires_at,) = _RETIRES.unpack_from(data, at)
        at += _RETIRES.size
        (size,) = _EVIDENCE_SIZE.unpack_from(data, at)
        at += _EVIDENCE_SIZE.size
        evidence = data[at : at + size]
        named = hashlib.sha256(evidence).digest() if size else NO_EVIDENCE
        if len(evidence) != size or named != statement.evidence_hash:
            raise _malformed()
        at += size
        keys = {}
        for number, digest in statement.suites:
            (size,) = _KEY_SIZE.unpack_from(data, at)
            at += _KEY_SIZE.size
            keys[number] = data[at : at + size]
            at += size
            if hashlib.sha256(keys[number]).digest() != digest:
                raise _malformed()
        if at != len(data):
            raise _malformed()
        return cls(statement, keys, retires_at, evidence)


def _malformed() -> KeyDocumentError:
    return KeyDocumentError("The server's key document is malformed.")
