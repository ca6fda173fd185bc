"""Key documents as a relay would like to have them, made from an honest one."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import replace

from stainedglass_output_protection.errors import (
    DecryptionError,
    IdentityMismatchError,
    KeyDocumentError,
    StatementExpiredError,
    StatementSignatureError,
)
from stainedglass_output_protection.protocol.epoch_keys import EpochKeys
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.sealed_request import SealedMessage
from stainedglass_output_protection.protocol.statement import make_statement

MINUTE_MS = 60_000
PREFIX = "sgop1-keys."
# The relay has all of these keys' private halves.
RELAYS = EpochKeys(secrets.token_bytes(32))
_RELAYS_IDENTITY = IdentityKey.generate()
_digests: set[bytes] = set()


def opens(text: str) -> bool:
    """Tell whether a sealed message was sealed to a document made here."""
    message = SealedMessage.from_text(text)
    for digest in _digests:
        if digest.startswith(message.key_id):
            with contextlib.suppress(DecryptionError):
                message.open(digest, RELAYS.open)
                return True
    return False


def now_ms() -> int:
    """Return the time."""
    return int(time.time() * 1000)


def document_of(
    identity: IdentityKey, *, epoch: int, not_after: int, keys: EpochKeys = RELAYS
) -> str:
    """Return the text of a document that ``identity`` has signed."""
    statement = make_statement(
        epoch=epoch,
        not_after=not_after,
        response_public_key=keys.response_public_key,
        identity=identity.public_key,
        sign=identity.sign,
        suite_public_keys=keys.suite_public_keys,
    )
    return _made(KeyDocument(statement, keys.suite_public_keys, not_after))


def _made(document: KeyDocument) -> str:
    _digests.add(document.statement.digest)
    return document.to_text()


def signed_by_another_identity(honest: KeyDocument) -> str:
    epoch = honest.statement.epoch + 1
    return document_of(_RELAYS_IDENTITY, epoch=epoch, not_after=epoch + 10 * MINUTE_MS)


def signature_changed(honest: KeyDocument) -> str:
    return _with_statement(honest, signature=_flipped(honest.statement.signature))


def identity_claimed_without_its_key(honest: KeyDocument) -> str:
    statement = make_statement(
        epoch=honest.statement.epoch + 1,
        not_after=honest.statement.not_after,
        response_public_key=RELAYS.response_public_key,
        identity=honest.statement.identity,
        sign=_RELAYS_IDENTITY.sign,
        suite_public_keys=RELAYS.suite_public_keys,
    )
    return _made(KeyDocument(statement, RELAYS.suite_public_keys, 2**50))


def response_key_exchanged(honest: KeyDocument) -> str:
    return _with_statement(honest, response_public_key=RELAYS.response_public_key)


def life_made_longer(honest: KeyDocument) -> str:
    return _with_statement(honest, not_after=honest.statement.not_after + MINUTE_MS)


def begun_later(honest: KeyDocument) -> str:
    return _with_statement(honest, epoch=honest.statement.epoch + 1)


def keys_and_hashes_exchanged(honest: KeyDocument) -> str:
    suites = make_statement(
        epoch=1,
        not_after=2,
        response_public_key=bytes(32),
        identity=bytes(32),
        sign=lambda message: bytes(64),
        suite_public_keys=RELAYS.suite_public_keys,
    ).suites
    epoch = honest.statement.epoch + 1
    statement = replace(honest.statement, suites=suites, epoch=epoch)
    keys = RELAYS.suite_public_keys
    return _made(replace(honest, statement=statement, suite_public_keys=keys))


def suite_taken_away(honest: KeyDocument) -> str:
    return _with_statement(honest, suites=honest.statement.suites[:1])


def keys_exchanged(honest: KeyDocument) -> str:
    return _made(replace(honest, suite_public_keys=RELAYS.suite_public_keys))


def evidence_added(honest: KeyDocument) -> str:
    return replace(honest, evidence=b"trust me").to_text()


def cut_short(honest: KeyDocument) -> str:
    return _text(_bytes(honest)[:-1])


def byte_added(honest: KeyDocument) -> str:
    return _text(_bytes(honest) + b"\0")


def not_canonical(honest: KeyDocument) -> str:
    return honest.to_text() + "\n"


def of_no_bytes(honest: KeyDocument) -> str:
    return PREFIX


Forge = Callable[[KeyDocument], str]
FORGED: dict[Forge, type[Exception]] = {
    signed_by_another_identity: IdentityMismatchError,
    signature_changed: StatementSignatureError,
    identity_claimed_without_its_key: StatementSignatureError,
    response_key_exchanged: StatementSignatureError,
    life_made_longer: StatementSignatureError,
    begun_later: StatementSignatureError,
    keys_and_hashes_exchanged: StatementSignatureError,
    suite_taken_away: StatementSignatureError,
    keys_exchanged: KeyDocumentError,
    evidence_added: KeyDocumentError,
    cut_short: KeyDocumentError,
    byte_added: KeyDocumentError,
    not_canonical: KeyDocumentError,
    of_no_bytes: KeyDocumentError,
}


def expired(identity: IdentityKey) -> str:
    """Return a document of an epoch that is long over, signed in its time."""
    end = now_ms() - 20 * MINUTE_MS
    return document_of(identity, epoch=end - 10 * MINUTE_MS, not_after=end)


def of_days_to_come(identity: IdentityKey) -> str:
    """Return a document of an epoch that has not begun."""
    start = now_ms() + 20 * MINUTE_MS
    return document_of(identity, epoch=start, not_after=start + 10 * MINUTE_MS)


EXPIRED = {expired: StatementExpiredError, of_days_to_come: StatementExpiredError}


def ended_a_minute_ago(identity: IdentityKey) -> str:
    """Return a document that the clock alone would let pass, were no newer one known."""
    end = now_ms() - MINUTE_MS
    return document_of(identity, epoch=end - 10 * MINUTE_MS, not_after=end)


def _with_statement(honest: KeyDocument, **changes: object) -> str:
    # A client looks no further at a document that is not newer than what it knows.
    changes = {"epoch": honest.statement.epoch + 1, **changes}
    statement = dataclasses.replace(honest.statement, **changes)  # type: ignore[arg-type]
    return replace(honest, statement=statement).to_text()


def _flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def _bytes(document: KeyDocument) -> bytes:
    return base64.b64decode(document.to_text()[len(PREFIX) :])


def _text(data: bytes) -> str:
    return PREFIX + base64.b64encode(data).decode()


def retires_at_set_to(document: KeyDocument, moment: int) -> str:
    """Return the document with another ``retires at``, which nobody signed."""
    data = bytearray(_bytes(document))
    at = len(document.statement.encode())
    data[at : at + 8] = struct.pack(">Q", moment)
    return _text(bytes(data))


def document_reply(text: str) -> bytes:
    """Return the body with which a key document is served."""
    return json.dumps({"document": text}).encode()


def key_unknown(text: str) -> bytes:
    """Return the body of a 422 that brings a key document."""
    error = {
        "message": f"The request is not sealed to a key of this server: {text}",
        "type": "invalid_request_error",
        "param": None,
        "code": "key_unknown",
    }
    return json.dumps({"error": error}).encode()
