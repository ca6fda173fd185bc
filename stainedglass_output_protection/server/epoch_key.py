"""One epoch's private keys with its signed statement and its key document."""

from __future__ import annotations

import hashlib

from stainedglass_output_protection.protocol.constants import (
    MIN_EPOCH_LIFE_MS,
    NO_EVIDENCE,
)
from stainedglass_output_protection.protocol.encoding import encode_base64
from stainedglass_output_protection.protocol.epoch_keys import EpochKeys
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.statement import Statement, make_statement
from stainedglass_output_protection.server.epochs import Epoch, Span
from stainedglass_output_protection.server.evidence import (
    EvidenceProvider,
    evidence_for,
)


class EpochKey:
    """The keys of one epoch and what is said of them.

    ``retires_at`` (Unix milliseconds) is when the key ring drops it. A caller must not
    keep it until then: whoever waits for an answer keeps what ``exchange`` returned.
    """

    __slots__ = (
        "_keys",
        "document_text",
        "encoded_statement",
        "key_id_hex",
        "public_key",
        "retires_at",
        "span",
        "statement",
    )

    def __init__(
        self, keys: EpochKeys, span: Span, statement: Statement, evidence: bytes
    ) -> None:
        self._keys = keys
        self.span = span
        self.retires_at = span.retires_at
        self.statement = statement
        self.encoded_statement: bytes = statement.encode()
        self.key_id_hex: str = statement.key_id.hex()
        self.public_key: bytes = statement.response_public_key
        self.document_text: str = KeyDocument(
            statement, keys.suite_public_keys, span.retires_at, evidence
        ).to_text()

    @property
    def public_key_base64(self) -> str:
        """The public half of the response key, as the response header carries it."""
        return encode_base64(self.public_key).decode("ascii")

    def exchange(self, client_public_key: bytes) -> bytes:
        """Return the shared secret of the response key with a client's key."""
        return self._keys.exchange(client_public_key)

    def open(self, suite: int, ciphertext: bytes, info: bytes) -> bytes:
        """Return what was sealed to the key of ``suite``, which must be a known one.

        Raises:
            DecryptionError: it does not open.
        """
        return self._keys.open(suite, ciphertext, info)

    def __repr__(self) -> str:
        return f"EpochKey(key_id={self.key_id_hex!r}, <redacted>)"


def make_epoch_key(
    epoch: Epoch,
    identity: IdentityKey,
    *,
    life_ms: int,
    evidence: EvidenceProvider | None = None,
) -> EpochKey:
    """Return the key of ``epoch``, signed by ``identity``.

    Raises:
        KeysUnavailableError: the evidence provider failed.
    """
    keys = EpochKeys(epoch.secret)
    gathered = b""

    def evidence_hash_of(digest: bytes) -> bytes:
        nonlocal gathered
        if evidence is None:
            return NO_EVIDENCE
        gathered = evidence_for(digest, evidence)
        return hashlib.sha256(gathered).digest()

    statement = make_statement(
        epoch=epoch.span.start,
        not_after=epoch.span.start + max(life_ms, MIN_EPOCH_LIFE_MS),
        response_public_key=keys.response_public_key,
        identity=identity.public_key,
        sign=identity.sign,
        suite_public_keys=keys.suite_public_keys,
        evidence_hash_of=evidence_hash_of,
    )
    return EpochKey(keys, epoch.span, statement, gathered)
