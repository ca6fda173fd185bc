"""What a named fault of the simulator is, and what a protected client makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tests.gateways.traffic import Act

OPENS = "opens"


class Outcome(NamedTuple):
    """By profile: ``opens``, the name of the error that is raised, or an API error.

    An API error is written as status, mark and code, where it has one:
    ``425 opened request_replayed``.
    """

    sealed: str
    output: str


@dataclass(frozen=True)
class Fault:
    """One thing that gateways do.

    ``make`` makes the act, anew for each gateway, since some remember. ``unary`` and
    ``stream`` say what comes of a chat request; None where there is nothing to change.
    """

    name: str
    says: str
    make: Callable[[], Act]
    unary: Outcome | None
    stream: Outcome | None

    def outcome(self, profile: str, shape: str) -> str | None:
        """Return what comes of it in ``sealed`` or ``output``, ``unary`` or ``stream``."""
        outcome: Outcome | None = getattr(self, shape)
        return None if outcome is None else str(getattr(outcome, profile))

    def is_benign(self, profile: str) -> bool:
        """Tell whether every answer still opens in this profile."""
        shown = {self.outcome(profile, shape) for shape in ("unary", "stream")}
        return shown - {None} == {OPENS}


def benign(name: str, says: str, act: Act) -> Fault:
    """Return a fault after which every answer opens."""
    outcome = Outcome(OPENS, OPENS)
    return Fault(name, says, lambda: act, outcome, outcome)


def hostile(
    name: str,
    says: str,
    make: Callable[[], Act],
    *,
    unary: str | Outcome | None,
    stream: str | Outcome | None,
) -> Fault:
    """Return a fault that something else comes of, in both profiles if it is one word."""

    def spread(outcome: str | Outcome | None) -> Outcome | None:
        return Outcome(outcome, outcome) if isinstance(outcome, str) else outcome

    return Fault(name, says, make, spread(unary), spread(stream))
