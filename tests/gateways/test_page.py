"""The page about gateways says of each fault what the tests have seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.gateways.fault import OPENS, Fault, Outcome
from tests.gateways.simulator import FAULTS

PAGE = Path(__file__).parents[2] / "docs" / "gateways.md"


def row_of(fault: Fault) -> str:
    """Return the row of a fault as the page has it."""
    cells = [fault.says, *(_cell(fault, profile) for profile in Outcome._fields)]
    return f"| {' | '.join(cells)} |"


def _cell(fault: Fault, profile: str) -> str:
    unary, stream = (fault.outcome(profile, shape) for shape in ("unary", "stream"))
    if unary == stream or unary is None:
        return _words(stream or OPENS)
    if stream is None:
        return _words(unary)
    return f"{_words(unary)}; a stream: {_words(stream)}"


def _words(outcome: str) -> str:
    if outcome == OPENS:
        return outcome
    if re.fullmatch(r"[A-Z]\w+Error", outcome):
        return (
            "`APIConnectionError`"
            if outcome == "RemoteProtocolError"
            else f"`{outcome}`"
        )
    status, mark, *code = outcome.split()
    return " ".join([status, *(f"`{it}`" for it in code or [mark])])


def faults_told() -> list[Fault]:
    """Return the faults of which the page has a row."""
    return [fault for fault in FAULTS.values() if fault.unary or fault.stream]


@pytest.mark.parametrize("fault", faults_told(), ids=lambda fault: fault.name)
def test_the_page_tells_what_comes_of(fault: Fault) -> None:
    assert row_of(fault) in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_no_other_rows() -> None:
    rows = set(re.findall(r"^\| \w+s .*\|$", PAGE.read_text(encoding="utf-8"), re.M))
    assert rows == {row_of(fault) for fault in faults_told()}
