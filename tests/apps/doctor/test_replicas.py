"""Requests that had to be sealed again: another server, or only another epoch."""

from __future__ import annotations

import json

import pytest

from stainedglass_output_protection.apps.doctor.check_replicas import check_replicas
from stainedglass_output_protection.apps.doctor.findings import Outcome
from stainedglass_output_protection.apps.doctor.observations import (
    Answer,
    Observations,
    SealedProbe,
)
from stainedglass_output_protection.apps.doctor.wire import Seen
from stainedglass_output_protection.client.verdict import Mark, Verdict
from stainedglass_output_protection.protocol.identity import IdentityKey
from tests.client.sealed_server import HOUR_MS, ring_since

START_MS = 1_700_000_000_000
MINUTE_MS = 60_000
IDENTITY = IdentityKey.generate()


def document(since_ms: int) -> str:
    ring = ring_since(START_MS + since_ms, identity=IDENTITY)
    return ring.current(START_MS + since_ms).document_text


def seen(method: str, after_ms: int, status: int, body: object) -> Seen:
    exchange = Seen(method, "/", status, [], after_ms / 1000, START_MS + after_ms)
    exchange.arrivals = [(after_ms / 1000, json.dumps(body).encode())]
    return exchange


@pytest.mark.parametrize(
    ("after_ms", "outcome"),
    [
        (HOUR_MS, Outcome.WARNING),
        # By then its keys are gone, and a server has others: as it should be.
        (2 * HOUR_MS + 1, Outcome.OK),
    ],
)
def test_a_key_that_a_server_lacks_is_a_finding_only_while_it_lives(
    after_ms: int, outcome: Outcome
) -> None:
    first = seen("GET", MINUTE_MS, 200, {"document": document(0)})
    error = {"code": "key_unknown", "message": f"Seal: {document(HOUR_MS - MINUTE_MS)}"}
    refusal = seen("POST", after_ms, 422, {"error": error})
    answer = seen("POST", after_ms + 1, 200, {})
    opened = Answer([refusal, answer], 200, verdict=Verdict(Mark.OPENED, "SHA256:x"))
    observed = Observations("http://h", "sealed", document=Answer([first], 200))
    observed.sealed = [SealedProbe("x25519", False, False, opened)]

    found = check_replicas(observed)

    assert found.outcome is outcome
    assert ("1 of 1 requests" in found.seen) == (outcome is Outcome.WARNING)
