"""What a check says: a name, an outcome, what was seen and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(str, Enum):
    """How a check ended. The values are part of the JSON form."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    NOT_TESTED = "not_tested"


@dataclass(frozen=True)
class Finding:
    """One row. ``advice`` is empty where there is nothing to do."""

    name: str
    outcome: Outcome
    seen: str
    advice: str = ""


def ok(name: str, seen: str) -> Finding:
    """Return a row without anything to do."""
    return Finding(name, Outcome.OK, seen)


def warning(name: str, seen: str, advice: str) -> Finding:
    """Return a row on something that protection survives."""
    return Finding(name, Outcome.WARNING, seen, advice)


def fault(name: str, seen: str, advice: str) -> Finding:
    """Return a row on something by which protection does not hold, or nothing works."""
    return Finding(name, Outcome.FAULT, seen, advice)


def not_tested(name: str, why: str) -> Finding:
    """Return a row on what could not be seen."""
    return Finding(name, Outcome.NOT_TESTED, f"{why[0].upper()}{why[1:]}.")
