"""The words for epochs, key documents and sealed requests; see ``vocabulary.py``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from tests import reference
from tests.reference import (
    HYBRID_SUITE,
    SUITE,
    Epoch,
    EpochKeys,
    HttpRequest,
    KeyDocument,
    SealedRequest,
    Statement,
    sha256,
)
from tests.vectors import mlkem768
from tests.vectors.vocabulary import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Vector,
    before,
    client_public,
    fingerprint,
    secret,
    statement,
)

LIFE = 2 * HOUR
CHAT = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi \xe2\x82\xac"}]}'
EVIDENCE = b"a quote, as a machine signs it"
UNKNOWN_SUITE = 7

# Epochs. The server rotates every hour; an epoch lives for two.

EPOCHS = {
    "epoch": NOW - 30 * MINUTE,
    "earlier epoch": NOW - 90 * MINUTE,
    "retired epoch": NOW - 150 * MINUTE,
}


@cache
def epoch_keys(name: str = "epoch") -> EpochKeys:
    return EpochKeys(secret(name))


def epoch_statement(name: str = "epoch", **changes: Any) -> Statement:
    """The statement of an epoch; whatever differs is signed."""
    keys, start = epoch_keys(name), EPOCHS.get(name, NOW)
    named: dict[str, Any] = {
        "epoch": start,
        "not_after": start + LIFE,
        "response_public_key": keys.response_public_key,
        "suites": [(u, sha256(key)) for u, key in keys.suite_public_keys.items()],
    }
    return statement(**(named | changes))


@cache
def epoch(name: str = "epoch") -> Epoch:
    signed = epoch_statement(name)
    return Epoch(epoch_keys(name), signed, signed.not_after)


# Key documents


def document(
    signed: Statement | None = None,
    *,
    retires_at: int = NOW + 90 * MINUTE,
    evidence: bytes = b"",
    keys: dict[int, bytes] | None = None,
) -> KeyDocument:
    """The document of the epoch, with any part exchanged."""
    if signed is None:
        evidence_hash = sha256(evidence) if evidence else bytes(32)
        signed = epoch_statement(evidence_hash=evidence_hash)
    return KeyDocument(
        signed, retires_at, evidence, keys or epoch_keys().suite_public_keys
    )


Text = str | list[str | dict[str, Any]]


def text_of(document: KeyDocument) -> str:
    return reference.document_text(document.encoded)


def read(document: KeyDocument, text: Text | None = None, **given: Any) -> Vector:
    """The client accepts the document."""
    keys = document.suite_public_keys.items()
    return _document_given(text or text_of(document), **given) | {
        "expect": "success",
        "key_id": document.statement.key_id.hex(),
        "digest": document.statement.digest.hex(),
        "retires_at": document.retires_at,
        "evidence_sha256": hashlib.sha256(document.evidence).hexdigest(),
        "suite_public_keys_sha256": {str(u): sha256(key).hex() for u, key in keys},
    }


def unread(
    document: KeyDocument | Text, error: str = "KeyDocumentError", **given: Any
) -> Vector:
    """The client refuses the document."""
    text = text_of(document) if isinstance(document, KeyDocument) else document
    return _document_given(text, **given) | {"expect": error}


def _document_given(
    text: Text,
    *,
    pins: Sequence[str] | None = ("identity",),
    now: int = NOW,
    accepted_before: Sequence[tuple[Statement, int]] = (),
) -> Vector:
    vector: Vector = {
        "document": text,
        "pins": None if pins is None else [fingerprint(pin) for pin in pins],
        "now_ms": now,
    }
    if accepted_before:
        vector["accepted_before"] = before(accepted_before)
    return vector


# Sealed requests


def asked(**changes: Any) -> SealedRequest:
    """What a client asks, but for the fields that differ."""
    usual = SealedRequest(
        response_secret=secret("response secret"),
        owner=secret("owner"),
        time=NOW - SECOND,
        container=reference.FIELDS,
        method="POST",
        target="/v1/chat/completions",
        content_type="application/json",
        authorization="",
        body=CHAT,
    )
    return replace(usual, **changes)


@dataclass(frozen=True)
class Sealing:
    """A sealed message as an honest client would make it, but for what differs."""

    request: SealedRequest = field(default_factory=asked)
    suite: int = SUITE
    epoch: str = "epoch"
    client: str = "client"
    version: int = reference.VERSION
    key_id: bytes | None = None
    digest: bytes | None = None
    client_public_key: bytes | None = None
    plaintext: bytes | None = None
    enc: bytes | None = None
    dh: bytes | None = None

    @property
    def header(self) -> bytes:
        key_id = epoch(self.epoch).statement.key_id
        return reference.message_header(
            self.suite, self.key_id or key_id, self.public_key, self.version
        )

    @property
    def public_key(self) -> bytes:
        return self.client_public_key or client_public(self.client)

    @property
    def message(self) -> bytes:
        digest = self.digest or epoch(self.epoch).statement.digest
        info = reference.request_info(self.suite, digest, self.public_key, self.version)
        plaintext = self.request.plaintext if self.plaintext is None else self.plaintext
        kem = self.suite if self.suite in reference.KEMS else SUITE
        enc, shared = encapsulated(kem, self.epoch)
        if self.enc is not None and self.dh is not None:
            public_key = epoch_keys(self.epoch).suite_public_keys[kem]
            enc, shared = (
                self.enc,
                reference.dhkem_secret(self.dh, self.enc, public_key),
            )
        sealed = reference.hpke_seal(kem, enc, shared, info, plaintext)
        return self.header + sealed

    @property
    def text(self) -> str:
        return reference.request_text(self.message)


@cache
def encapsulated(suite: int, epoch_name: str = "epoch") -> tuple[bytes, bytes]:
    """The encapsulated key and the shared secret, from fixed randomness."""
    public_key = epoch_keys(epoch_name).suite_public_keys[suite]
    ephemeral = secret("ephemeral")
    ephemeral_public = reference.public_half(ephemeral)
    if suite == SUITE:
        dh = reference.exchange(ephemeral, public_key)
        return ephemeral_public, reference.dhkem_secret(
            dh, ephemeral_public, public_key
        )
    return xwing(public_key, secret("ML-KEM randomness"), ephemeral)


def xwing(
    public_key: bytes, randomness: bytes, ephemeral: bytes
) -> tuple[bytes, bytes]:
    """draft-connolly-cfrg-xwing-kem-06, section 5.4.1: ``EncapsulateDerand``."""
    pk_m, pk_x = public_key[:-32], public_key[-32:]
    ss_m, ct_m = mlkem768.encapsulate(pk_m, randomness)
    ct_x, ss_x = reference.public_half(ephemeral), reference.exchange(ephemeral, pk_x)
    return ct_m + ct_x, reference.xwing_secret(ss_m, ss_x, ct_x, pk_x)


def opens_as(
    request: SealedRequest, carried: str | HttpRequest, **given: Any
) -> Vector:
    """The server opens what is carried and reads ``request``."""
    return _request_given(carried, **given) | {
        "expect": "success",
        "opened": {
            "response_secret": request.response_secret.hex(),
            "owner": request.owner.hex(),
            "time_ms": request.time,
            "container": request.container,
            "method": request.method,
            "target": request.target,
            "content_type": request.content_type,
            "authorization": request.authorization,
            "body_sha256": hashlib.sha256(request.body).hexdigest(),
        },
    }


def sealed_opens(sealing: Sealing | None = None, **given: Any) -> Vector:
    sealing = sealing or Sealing()
    return opens_as(sealing.request, sealing.text, **given)


def not_opened(code: str, carried: str | HttpRequest | Sealing, **given: Any) -> Vector:
    """The server answers with the error ``code``."""
    text = carried.text if isinstance(carried, Sealing) else carried
    return _request_given(text, **given) | {"expect": code}


def malformed(carried: str | HttpRequest | Sealing, **given: Any) -> Vector:
    return not_opened(reference.MALFORMED_REQUEST, carried, **given)


def _request_given(
    carried: str | HttpRequest,
    *,
    now: int = NOW,
    client_keys: Sequence[str] = (),
    limit: int | None = None,
    mark: int | None = None,
    seen: Sequence[str] = (),
) -> Vector:
    epochs = [
        {
            "epoch_secret": secret(name).hex(),
            "epoch": start,
            "not_after": start + LIFE,
            "retires_at": start + LIFE,
        }
        for name, start in EPOCHS.items()
    ]
    vector: Vector = {
        "identity_private_key": secret("identity").hex(),
        "epochs": epochs,
        "now_ms": now,
    }
    if isinstance(carried, str):
        vector["sealed_text"] = carried
    else:
        vector["request"] = {
            "method": carried.method,
            "path": carried.path,
            "query": carried.query,
            "headers": [list(pair) for pair in carried.headers],
            "body": carried.body.decode("utf-8"),
        }
    if client_keys:
        vector["client_keys"] = list(client_keys)
    if limit is not None:
        vector["limit"] = limit
    if mark is not None:
        vector["mark_ms"] = mark
    if seen:
        vector["seen"] = [secret(name).hex() for name in seen]
    return vector


# Answers to sealed requests


def sealed_to(suite: int = SUITE, **changes: Any) -> Vector:
    """What the client keeps of the request that it has sealed."""
    kept = {
        "suite": suite,
        "response_secret": secret("response secret").hex(),
        "request_hash": request_hash(suite).hex(),
        "digest": epoch().statement.digest.hex(),
    }
    return kept | changes


@cache
def request_hash(suite: int = SUITE) -> bytes:
    """Of the message in ``sealed_request_of_suite_N.json``."""
    return sha256(Sealing(suite=suite).message)


def sealed_answer(
    suite: int = SUITE, container: int = 1, **changes: Any
) -> dict[str, Any]:
    """What ``Response`` needs for an answer to that request."""
    usual = {
        "parameters": (reference.VERSION, suite, reference.SEALED_PROFILE, container),
        "statement": epoch().statement,
        "private_key": epoch_keys().response_private_key,
        "response_secret": secret("response secret"),
        "request_hash": request_hash(suite),
    }
    return usual | changes


BOTH_SUITES = (SUITE, HYBRID_SUITE)
