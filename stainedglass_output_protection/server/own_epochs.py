"""Epochs of one process: random secrets, in memory only."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from stainedglass_output_protection.protocol.constants import SECRET_SIZE
from stainedglass_output_protection.server.clock import elapsed_ms
from stainedglass_output_protection.server.epochs import (
    Clock,
    Epoch,
    EpochTimes,
    Span,
)


class OwnEpochs:
    """Makes a new epoch every period. An ``EpochSource``."""

    mode = "process"

    def __init__(self, times: EpochTimes, *, elapsed: Clock = elapsed_ms) -> None:
        self.times = times
        self._elapsed = elapsed
        self._epochs: list[Epoch] = []
        self._newest_start = 0

    def live(self, now_ms: int) -> Sequence[Epoch]:
        """Return the live epochs, with a new one if the newest is a period old."""
        self.forget_retired(now_ms)
        if self.is_due(now_ms):
            epoch = new_epoch(self.times, self._newest_start, now_ms, self._elapsed())
            self._newest_start = epoch.span.start
            self._epochs = keep_newest([*self._epochs, epoch], self.times)
        return tuple(self._epochs)

    def check(self, now_ms: int) -> None:
        """Return: these keys are good at any time."""

    def is_over(self, span: Span, now_ms: int) -> bool:
        """Tell whether the keys of an epoch must be gone, by either clock."""
        return is_over(span, now_ms, self._elapsed())

    def forget_retired(self, now_ms: int) -> None:
        """Drop the secrets of retired epochs."""
        self._epochs = [
            epoch for epoch in self._epochs if not self.is_over(epoch.span, now_ms)
        ]

    def is_due(self, now_ms: int) -> bool:
        """Tell whether the newest epoch is a period old."""
        newest = self._epochs[-1].span if self._epochs else None
        return is_due(newest, self.times, now_ms, self._elapsed())

    def may_have_more(self, now_ms: int) -> bool:
        """Tell that nobody else makes epochs."""
        return False

    def next_change_ms(self, now_ms: int) -> int:
        """Return the time until the next epoch, or the next end of one."""
        spans = [epoch.span for epoch in self._epochs]
        return next_change_ms(spans, self.times, self._elapsed())


def is_due(newest: Span | None, times: EpochTimes, now_ms: int, elapsed: int) -> bool:
    """Tell whether an epoch must be made: the newest is a period old by either clock."""
    if newest is None:
        return True
    made_at = newest.elapsed_deadline - times.life_ms
    return max(now_ms - newest.start, elapsed - made_at) >= times.period_ms


def new_epoch(times: EpochTimes, newest_start: int, now_ms: int, elapsed: int) -> Epoch:
    """Return a fresh random epoch, which begins later than ``newest_start``."""
    start = max(now_ms, newest_start + 1)
    # It answers at once: where the clock went back, its start is still to come.
    span = Span(start, 0, start + times.life_ms, elapsed + times.life_ms)
    return Epoch(span, secrets.token_bytes(SECRET_SIZE))


def is_over(span: Span, now_ms: int, elapsed: int) -> bool:
    """Tell whether an epoch has retired by either clock."""
    return now_ms >= span.retires_at or elapsed >= span.elapsed_deadline


def keep_newest(epochs: Sequence[Epoch], times: EpochTimes) -> list[Epoch]:
    """Return at most as many epochs as may live at one time, the newest of them."""
    return list(epochs[-(1 + times.overlap) :])


def next_change_ms(spans: Sequence[Span], times: EpochTimes, elapsed: int) -> int:
    """Return the time until an epoch is due, or one retires. Nothing if there is none."""
    if not spans:
        return 0
    next_start = spans[-1].elapsed_deadline - times.life_ms + times.period_ms
    return max(0, min(next_start, spans[0].elapsed_deadline) - elapsed)
