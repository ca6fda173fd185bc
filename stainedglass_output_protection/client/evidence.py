"""Runs the caller's check of a server's attestation evidence.

What evidence is, and what makes it good, is the verifier's business; here it is only
made sure that it ran on this document's evidence and accepted it.
"""

from __future__ import annotations

import hashlib
import inspect
import threading
from collections.abc import Callable
from typing import cast

from stainedglass_output_protection.errors import EvidenceError, UsageError
from stainedglass_output_protection.protocol.key_document import KeyDocument

# Is given the evidence and the report data that it must name, the statement's digest.
# It returns None to accept and raises anything to refuse. It runs in the thread, or
# the event loop, that asks, and its evidence comes from the peer: it bounds its work.
EvidenceVerifier = Callable[[bytes, bytes], None]

_KEPT = 256


def check_evidence(document: KeyDocument, verifier: EvidenceVerifier | None) -> None:
    """Return if ``verifier`` accepts the document's evidence, or there is none.

    The caller has accepted the document's statement.

    Raises:
        EvidenceError: there is no evidence, it is not what the statement names, or the
            verifier raised. Of what it raised only the type is told: the words may be
            the peer's.
        UsageError: the verifier returned something; an ``async`` one does.
    """
    if verifier is None:
        return
    if not document.evidence:
        raise EvidenceError(
            "The server offers no attestation evidence, and this client demands it."
        )
    if _hash_of(document) != document.statement.evidence_hash:
        raise EvidenceError(
            "The attestation evidence is not what the server's statement names."
        )
    # Nothing is raised inside ``except``: no error of the verifier's hangs on ours.
    refused_with = ""
    result: object = None
    try:
        call = cast("Callable[[bytes, bytes], object]", verifier)
        result = call(document.evidence, document.statement.digest)
    except Exception as error:
        refused_with = type(error).__name__
    if refused_with:
        raise EvidenceError(
            f"The attestation evidence was refused: the verifier raised {refused_with}."
        )
    if result is not None:
        if inspect.iscoroutine(result):
            result.close()
        raise UsageError(
            "The evidence verifier returned something. It must be a plain function "
            "that returns None to accept and raises to refuse."
        )


class EvidenceCheck:
    """``check_evidence`` that asks its verifier once for each document it accepts.

    Safe to share by threads; they wait for one another. A refusal is not remembered.
    """

    def __init__(self, verifier: EvidenceVerifier | None) -> None:
        self._verifier = verifier
        # A verifier that asks through the same client fails; it does not hang.
        self._lock = threading.RLock()
        self._accepted: dict[tuple[bytes, bytes], None] = {}

    def check(self, document: KeyDocument) -> None:
        """Return if the document's evidence is, or was, accepted.

        Raises:
            EvidenceError, UsageError: as ``check_evidence`` does.
        """
        if self._verifier is None:
            return
        name = document.statement.digest, _hash_of(document)
        with self._lock:
            if name in self._accepted:
                return
            check_evidence(document, self._verifier)
            if len(self._accepted) >= _KEPT:
                self._accepted.pop(next(iter(self._accepted)))
            self._accepted[name] = None


def _hash_of(document: KeyDocument) -> bytes:
    return hashlib.sha256(document.evidence).digest()
