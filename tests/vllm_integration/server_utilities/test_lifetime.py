"""Rows 12 and 13 in a real process; the fifty starts are in ``checks.py``."""

from __future__ import annotations

import pytest

from stainedglass_output_protection.client.verdict import Mark
from tests.vllm_integration.server_utilities.conftest import READY, Flagged, said
from tests.vllm_integration.server_utilities.evidence import WORDS
from tests.vllm_integration.servers import wait_for
from tests.vllm_integration.shapes import CHAT

pytestmark = pytest.mark.vllm

# Each takes a second, if the machine does not stand still.
LATER = 3


def _rotations(flagged: Flagged, result: str) -> float:
    found = flagged.counted()
    return found["rotations_total", frozenset({("result", result)})]


def test_row_13_evidence_that_fails_once_is_counted_and_keys_go_on(
    flagged: Flagged,
) -> None:
    wait_for(lambda: _rotations(flagged, "failed"), "the failure", 60)
    made = _rotations(flagged, "ok")
    wait_for(lambda: _rotations(flagged, "ok") >= made + LATER, "later keys", 120)

    # On a slow machine more than one attempt may come before the next key is due.
    failed = _rotations(flagged, "failed")
    made = _rotations(flagged, "ok")
    wait_for(lambda: _rotations(flagged, "ok") >= made + LATER, "still later keys", 120)
    assert _rotations(flagged, "failed") == failed
    with flagged.plain() as client:
        assert client.get(READY).json()["ready"] is True
    with flagged.protected() as client:
        answer = client.post(CHAT, json=said("after"))
    assert answer.extensions["output_protection"].mark is Mark.OPENED


def test_row_13_the_log_says_so_once_and_without_its_words(flagged: Flagged) -> None:
    wait_for(lambda: _rotations(flagged, "failed"), "the failure", 60)
    wait_for(
        lambda: "The server has usable epoch keys again." in flagged.server.log,
        "the recovery",
        60,
    )
    log = flagged.server.log
    assert log.count("the function raised ConnectionError") == 1
    assert WORDS not in log
