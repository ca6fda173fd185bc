"""What makes a client accept an epoch statement (``protocol.md#accepting-a-statement``)."""

from __future__ import annotations

import threading
from typing import Any

from stainedglass_output_protection.errors import (
    IdentityMismatchError,
    StatementExpiredError,
    StatementRolledBackError,
    StatementSignatureError,
)
from stainedglass_output_protection.protocol.constants import CLOCK_SKEW_MS
from stainedglass_output_protection.protocol.identity import (
    fingerprint_of,
    verify_signature,
)
from stainedglass_output_protection.protocol.statement import Statement

_KEPT = 256


class StatementPolicy:
    """A client's pin and its memory of accepted epochs. Safe to share by threads.

    ``pins`` is a set of fingerprints, or None to accept any identity: the answers are
    then protected against faults and readers, not against a substituted server.
    """

    def __init__(self, pins: frozenset[str] | None = None) -> None:
        self._pins = pins
        self._lock = threading.Lock()
        self._newest_epochs: dict[bytes, int] = {}
        # Verifying costs more than all the rest of a response: remember what verified.
        self._verified: dict[bytes, None] = {}

    def accept(self, statement: Statement, *, now_ms: int) -> None:
        """Return if the statement is acceptable at ``now_ms`` (Unix milliseconds).

        Raises:
            StatementSignatureError, IdentityMismatchError, StatementExpiredError,
            StatementRolledBackError: as the specification says, checked in that order.
        """
        self._verify_once(statement)
        if self._pins is not None and fingerprint_of(statement.identity) not in (
            self._pins
        ):
            raise IdentityMismatchError(
                f"The server's identity is {fingerprint_of(statement.identity)}, "
                "which is not a pinned one. If the operator replaced it, pin the new "
                "one from a source you trust. A server without SG_IDENTITY_KEY_FILE has "
                "another identity after each restart. Otherwise somebody is in between."
            )
        if not (
            statement.epoch - CLOCK_SKEW_MS <= now_ms
            and now_ms <= statement.not_after + CLOCK_SKEW_MS
        ):
            raise StatementExpiredError(
                "The server's epoch is not valid at this clock's time. Check the "
                "clocks of both machines; otherwise an old answer was replayed."
            )
        with self._lock:
            newest = self._newest_epochs.get(statement.identity, 0)
            if statement.not_after <= newest:
                raise StatementRolledBackError(
                    "The server's epoch had ended before one that it used earlier: "
                    "an old answer or an old server."
                )
            if newest < statement.epoch <= now_ms:
                _forget_oldest(self._newest_epochs)
                self._newest_epochs[statement.identity] = statement.epoch

    def _verify_once(self, statement: Statement) -> None:
        encoded = statement.encode()
        with self._lock:
            if encoded in self._verified:
                return
        if not verify_signature(
            statement.identity, statement.signature, statement.signed_message
        ):
            raise StatementSignatureError(
                "The signature of the server's epoch statement does not verify."
            )
        with self._lock:
            _forget_oldest(self._verified)
            self._verified[encoded] = None


def _forget_oldest(memory: dict[bytes, Any]) -> None:
    """Keep a memory bounded: without a pin, anybody can make it grow."""
    if len(memory) >= _KEPT:
        memory.pop(next(iter(memory)))
