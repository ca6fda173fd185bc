"""When events come: what is called held or gathered, and what a slow machine may do."""

from __future__ import annotations

import pytest

from stainedglass_output_protection.apps.doctor.check_streams import check_timing
from stainedglass_output_protection.apps.doctor.findings import Outcome
from stainedglass_output_protection.apps.doctor.observations import (
    Answer,
    Observations,
    SealedProbe,
)
from stainedglass_output_protection.apps.doctor.wire import Seen
from stainedglass_output_protection.client.verdict import Mark, Verdict

EVENTS = 64
ONE = b"data: {}\n\n"


def stream(arrivals: list[tuple[float, int]], *, is_long: bool) -> SealedProbe:
    """Return a stream of which so many events came in one piece at these times."""
    seen = Seen("POST", "/v1/chat/completions", 200, [], asked_s=100.0, at_ms=0)
    seen.arrivals = [(100.0 + at_s, ONE * count) for at_s, count in arrivals]
    body = ONE * sum(count for _, count in arrivals)
    answer = Answer([seen], 200, body, verdict=Verdict(Mark.OPENED))
    return SealedProbe("x25519", True, is_long, answer)


def paced(gap_s: float, *, wait_s: float = 0.1) -> list[tuple[float, int]]:
    return [(wait_s + gap_s * number, 1) for number in range(EVENTS)]


def together(at_s: float, pieces: int = EVENTS) -> list[tuple[float, int]]:
    return [(at_s + number / 1000, EVENTS // pieces) for number in range(pieces)]


SHORT = [(0.1, 1), (0.15, 2)]


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ([paced(0.03)] * 2, SHORT),
        ([paced(0.0005)] * 2, SHORT),
        # A model that begins late, for the short ones as well.
        ([paced(0.002, wait_s=5.0)] * 2, [(5.0, 3)]),
        # A machine that has stood still while one of two came.
        ([paced(0.03), together(4.0)], SHORT),
        ([paced(0.03), together(4.0, pieces=1)], SHORT),
        # One stream is none: a machine may stand still for as long as it lasts.
        ([together(4.0)], SHORT),
        # A quick model's answers, of which several events come at once.
        ([together(0.2, pieces=4)] * 2, SHORT),
    ],
)
def test_a_stream_that_nobody_holds_is_no_finding(
    long: list[list[tuple[float, int]]], short: list[tuple[float, int]]
) -> None:
    seen = Observations("http://h", "sealed")
    seen.sealed = [stream(it, is_long=True) for it in long]
    seen.sealed.append(stream(short, is_long=False))

    assert check_timing(seen).outcome is Outcome.OK


@pytest.mark.parametrize(
    ("arrivals", "word"),
    [
        (together(2.0), "held"),
        (together(2.0, pieces=1), "held"),
        (together(0.1, pieces=1), "held"),
        ([(0.1 + 0.3 * number, 8) for number in range(8)], "again and again"),
    ],
)
def test_a_stream_that_is_held_or_gathered_is_a_warning(
    arrivals: list[tuple[float, int]], word: str
) -> None:
    seen = Observations("http://h", "sealed")
    seen.sealed = [stream(arrivals, is_long=True) for _ in range(2)]
    seen.sealed.append(stream(SHORT, is_long=False))

    found = check_timing(seen)

    assert found.outcome is Outcome.WARNING
    assert word in found.seen
    assert found.advice


def test_a_large_piece_that_is_read_in_parts_is_one() -> None:
    probe = stream(together(0.1, pieces=1), is_long=True)
    (exchange,) = probe.answer.seen
    whole = exchange.body
    exchange.arrivals = [(100.1, whole[at : at + 37]) for at in range(0, 640, 37)]
    seen = Observations("http://h", "sealed", sealed=[probe])

    assert check_timing(seen).outcome is Outcome.WARNING


def test_a_few_events_tell_nothing() -> None:
    seen = Observations("http://h", "sealed")
    seen.sealed = [stream(SHORT, is_long=True)]

    assert check_timing(seen).outcome is Outcome.NOT_TESTED
