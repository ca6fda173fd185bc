"""What an epoch is to a server, and where epochs come from (``protocol.md#epoch-keys``).

Times are Unix milliseconds; those called elapsed are of a clock that nobody can set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.constants import MAX_EPOCH_LIFE_MS

# Every process holds the keys of all epochs that live.
MAX_OVERLAP: Final = 255

Clock = Callable[[], int]


@dataclass(frozen=True)
class EpochTimes:
    """How often a new epoch begins, and for how many more periods it lives.

    Raises:
        ConfigurationError: the life would be out of range.
    """

    period_ms: int
    overlap: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.overlap <= MAX_OVERLAP:
            raise ConfigurationError(
                f"SG_KEY_OVERLAP_EPOCHS must be a whole number from 1 to {MAX_OVERLAP}."
            )
        if not 0 < self.life_ms <= MAX_EPOCH_LIFE_MS:
            raise ConfigurationError(
                "SG_KEY_REFRESH_TIME_S and SG_KEY_OVERLAP_EPOCHS: an epoch lives for "
                "(1 + overlap) times the refresh time, which must be above zero and at "
                "most 48 hours. Lower one of them."
            )

    @property
    def life_ms(self) -> int:
        """How long after its beginning an epoch's private halves are dropped."""
        return (1 + self.overlap) * self.period_ms


@dataclass(frozen=True)
class Span:
    """When an epoch begins and ends.

    ``start`` is the statement's ``epoch``, ``answers_from`` when the epoch answers
    requests that name none, ``retires_at`` when its keys go. They go at
    ``elapsed_deadline`` at the latest, whatever was done to the wall clock.
    """

    start: int
    answers_from: int
    retires_at: int
    elapsed_deadline: int


@dataclass(frozen=True)
class Epoch:
    """A span and the secret of 32 bytes from which all keys of the epoch come."""

    span: Span
    secret: bytes = field(repr=False)


class EpochSource(Protocol):
    """Where the epochs of one server process come from. Not safe to share by threads."""

    @property
    def mode(self) -> str:
        """One word for people: who else has the same epochs."""

    @property
    def times(self) -> EpochTimes:
        """The period and overlap in force."""

    def live(self, now_ms: int) -> Sequence[Epoch]:
        """Make the epochs that are due, forget the retired, return the others in order.

        Raises:
            KeysUnavailableError: epochs cannot be had now.
        """

    def check(self, now_ms: int) -> None:
        """Return if keys may be used at ``now_ms``. Called for every request.

        Raises:
            KeysUnavailableError: they may not.
        """

    def is_over(self, span: Span, now_ms: int) -> bool:
        """Tell whether the keys of an epoch must be gone."""

    def forget_retired(self, now_ms: int) -> None:
        """Drop the secrets of retired epochs; make nothing."""

    def is_due(self, now_ms: int) -> bool:
        """Tell whether ``live`` should have made an epoch already."""

    def may_have_more(self, now_ms: int) -> bool:
        """Tell whether ``live`` could return an epoch that it did not the last time."""

    def next_change_ms(self, now_ms: int) -> int:
        """Return in how many milliseconds ``live`` is to be called again."""
