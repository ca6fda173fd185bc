"""Attestation evidence, with a worked example of an authority and its verifier.

A real verifier calls the vendor's library in place of ``Authority.verify``: it checks the
vendor's signatures, the measurements, and that the evidence names our report data.
"""

from __future__ import annotations

import hashlib
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stainedglass_output_protection.client.evidence import (
    EvidenceCheck,
    EvidenceVerifier,
    check_evidence,
)
from stainedglass_output_protection.errors import (
    EvidenceError,
    KeyDocumentError,
    StatementError,
    UsageError,
)
from stainedglass_output_protection.protocol.constants import MAX_DOCUMENT_TEXT
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.statement import make_statement

IDENTITY = IdentityKey.generate()
MEASUREMENT = b"measured: sg-vllm 1.0"
HOUR = 3600 * 1000


class Authority:
    """A vendor of trusted machines, whose public key the verifier has from elsewhere."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.calls = 0

    def attest(self, report_data: bytes, measurement: bytes = MEASUREMENT) -> bytes:
        """What the machine of the server asks of its hardware."""
        quote = report_data + measurement
        return self._key.sign(quote) + quote

    def verify(self, evidence: bytes, report_data: bytes) -> None:
        """The verifier that the client is given."""
        self.calls += 1
        signature, quote = evidence[:64], evidence[64:]
        self._key.public_key().verify(signature, quote)
        if quote[:32] != report_data:
            raise ValueError("evidence of another epoch: " + quote[:32].hex())
        if quote[32:] != MEASUREMENT:
            raise ValueError("not the measured code")


@pytest.fixture
def authority() -> Authority:
    return Authority()


def document(make_evidence: Any, *, epoch: int = HOUR) -> KeyDocument:
    """Return a server's document, as it comes out of its text."""
    evidence = b""

    def hash_of(digest: bytes) -> bytes:
        nonlocal evidence
        evidence = make_evidence(digest)
        return hashlib.sha256(evidence).digest() if evidence else bytes(32)

    statement = make_statement(
        epoch=epoch,
        not_after=epoch + HOUR,
        response_public_key=bytes(range(32)),
        identity=IDENTITY.public_key,
        sign=IDENTITY.sign,
        evidence_hash_of=hash_of,
    )
    made = KeyDocument(statement, {}, retires_at=epoch + HOUR, evidence=evidence)
    return KeyDocument.from_text(made.to_text())


def test_good_evidence_is_accepted(authority: Authority) -> None:
    check_evidence(document(authority.attest), authority.verify)
    assert authority.calls == 1


def test_without_a_verifier_evidence_says_nothing(authority: Authority) -> None:
    for evidence in (authority.attest, lambda digest: b"", lambda digest: b"x"):
        check_evidence(document(evidence), None)
        EvidenceCheck(None).check(document(evidence))


def test_missing_evidence_is_refused_unasked(authority: Authority) -> None:
    with pytest.raises(EvidenceError, match="offers no attestation evidence"):
        check_evidence(document(lambda digest: b""), authority.verify)
    assert authority.calls == 0


def test_evidence_of_another_epoch_is_refused(authority: Authority) -> None:
    earlier = document(authority.attest)
    replayed = document(lambda digest: earlier.evidence, epoch=2 * HOUR)
    with pytest.raises(EvidenceError, match="the verifier raised ValueError"):
        check_evidence(replayed, authority.verify)


def test_other_code_is_refused(authority: Authority) -> None:
    other = document(lambda digest: authority.attest(digest, b"measured: other"))
    with pytest.raises(EvidenceError, match="ValueError"):
        check_evidence(other, authority.verify)


@pytest.mark.parametrize("forged", [b"", b"x", bytes(200)])
def test_forged_evidence_is_refused(authority: Authority, forged: bytes) -> None:
    forger = Authority()
    made = document(lambda digest: forged or forger.attest(digest))
    with pytest.raises(EvidenceError, match="InvalidSignature"):
        check_evidence(made, authority.verify)


def test_evidence_may_be_large_and_not_huge(authority: Authority) -> None:
    sizes: list[int] = []
    room = MAX_DOCUMENT_TEXT * 3 // 4 - 400
    large = document(lambda digest: bytes(room))
    check_evidence(large, lambda evidence, _: sizes.append(len(evidence)))
    assert sizes == [room]
    with pytest.raises(KeyDocumentError):
        document(lambda digest: bytes(MAX_DOCUMENT_TEXT))


def test_evidence_that_the_statement_does_not_name_is_refused(
    authority: Authority,
) -> None:
    made = document(authority.attest)
    swapped = KeyDocument(made.statement, {}, made.retires_at, made.evidence + b"x")
    with pytest.raises(EvidenceError, match="not what the server's statement names"):
        check_evidence(swapped, authority.verify)
    check = EvidenceCheck(authority.verify)
    check.check(made)
    with pytest.raises(EvidenceError):
        check.check(swapped)
    assert authority.calls == 1


class PeersError(Exception):
    """As a parser makes them: with the peer's bytes in its words."""


@pytest.mark.parametrize(
    "error", [PeersError("secret"), KeyError("secret"), EvidenceError("secret")]
)
def test_of_what_a_verifier_raises_only_the_type_is_told(error: Exception) -> None:
    def verifier(evidence: bytes, report_data: bytes) -> None:
        raise error

    with pytest.raises(EvidenceError) as caught:
        check_evidence(document(lambda digest: b"x"), verifier)
    assert isinstance(caught.value, StatementError)
    assert f"raised {type(error).__name__}." in str(caught.value)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_an_interrupt_goes_through() -> None:
    def verifier(evidence: bytes, report_data: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_evidence(document(lambda digest: b"x"), verifier)


async def async_verifier(evidence: bytes, report_data: bytes) -> None:
    raise AssertionError("is never awaited")


@pytest.mark.parametrize("verifier", [async_verifier, lambda *_: False, lambda *_: 1])
def test_a_verifier_that_returns_something_accepts_nothing(verifier: Any) -> None:
    check = EvidenceCheck(verifier)
    for _ in range(2):
        with pytest.raises(UsageError, match="raises to refuse"):
            check.check(document(lambda digest: b"x"))


def test_a_verifier_runs_once_for_each_document(authority: Authority) -> None:
    check = EvidenceCheck(authority.verify)
    text = document(authority.attest).to_text()
    for _ in range(3):
        check.check(KeyDocument.from_text(text))
    assert authority.calls == 1
    check.check(document(authority.attest, epoch=2 * HOUR))
    assert authority.calls == 2
    with pytest.raises(EvidenceError):
        check.check(document(Authority().attest))
    assert authority.calls == 3


def test_a_verifier_of_another_check_is_not_taken_for_this_one(
    authority: Authority,
) -> None:
    made = document(authority.attest)
    EvidenceCheck(authority.verify).check(made)
    with pytest.raises(EvidenceError):
        EvidenceCheck(Authority().verify).check(made)


def test_a_refusal_is_not_remembered() -> None:
    answers: list[Exception | None] = [OSError("the vendor is away"), None]

    def verifier(evidence: bytes, report_data: bytes) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    check = EvidenceCheck(verifier)
    with pytest.raises(EvidenceError, match="OSError"):
        check.check(document(lambda digest: b"x"))
    check.check(document(lambda digest: b"x"))
    check.check(document(lambda digest: b"x"))
    assert answers == []


def test_threads_wait_for_one_run(authority: Authority) -> None:
    running = threading.Event()

    def slow(evidence: bytes, report_data: bytes) -> None:
        running.wait(0.1)
        authority.verify(evidence, report_data)

    check = EvidenceCheck(slow)
    made = document(authority.attest)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check.check, [made] * 8))
    assert authority.calls == 1


def test_a_verifier_that_asks_through_itself_fails_and_does_not_hang() -> None:
    made = document(lambda digest: b"x")
    check: EvidenceCheck

    def verifier(evidence: bytes, report_data: bytes) -> None:
        check.check(made)

    check = EvidenceCheck(verifier)
    with pytest.raises(EvidenceError):
        check.check(made)


def test_what_is_remembered_is_bounded() -> None:
    check = EvidenceCheck(lambda evidence, report_data: None)
    for epoch in range(1, 300):
        check.check(document(lambda digest: b"x", epoch=epoch))
    assert len(check._accepted) == 256


def test_a_bound_method_is_a_verifier(authority: Authority) -> None:
    verifier: EvidenceVerifier = authority.verify
    EvidenceCheck(verifier).check(document(authority.attest))
