"""Epochs of a fleet: replicas agree on them without talking (``protocol.md#fleet``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Final

from stainedglass_output_protection.errors import (
    ConfigurationError,
    KeysUnavailableError,
)
from stainedglass_output_protection.protocol.ratchet import Ratchet
from stainedglass_output_protection.server.clock import elapsed_ms
from stainedglass_output_protection.server.clock_guard import ClockGuard
from stainedglass_output_protection.server.epochs import Clock, Epoch, Span
from stainedglass_output_protection.server.fleet_secret import FleetSecret

# Half a minute of computing.
MAX_CATCH_UP: Final = 10_000_000


class FleetEpochs:
    """Turns the fleet's ratchet by the wall clock. An ``EpochSource``.

    It holds the epochs that live and the ratchet secret of the next one, so no secret
    from which a retired epoch could be computed. The caller must drop ``fleet`` too.

    Raises:
        ConfigurationError: the base epoch is too old to catch up from.
    """

    mode = "fleet"

    def __init__(
        self, fleet: FleetSecret, now_ms: int, *, elapsed: Clock = elapsed_ms
    ) -> None:
        require_near(fleet, now_ms)
        self.times = fleet.times
        # Times only: the base epoch's secret goes as the ratchet turns.
        self._layout = FleetSecret(fleet.anchor_ms, fleet.times, 0, b"")
        self._ratchet = Ratchet(fleet.index, fleet.secret)
        self._elapsed = elapsed
        self._guard = ClockGuard(elapsed)
        self._epochs: list[Epoch] = []

    def live(self, now_ms: int) -> Sequence[Epoch]:
        """Return the live epochs; the next is among them half a period early.

        Raises:
            KeysUnavailableError: the clock jumped forward.
        """
        self._guard.require_right(now_ms)
        self._guard.take_as_right(now_ms)
        self.forget_retired(now_ms)
        self._ratchet.skip_to(self._layout.oldest_live_at(now_ms))
        newest = self._layout.index_at(now_ms + self.times.period_ms // 2)
        while self._ratchet.index <= newest:
            span = self._span(self._ratchet.index, now_ms)
            self._epochs.append(Epoch(span, self._ratchet.take()))
        return tuple(self._epochs)

    def check(self, now_ms: int) -> None:
        """Return if the clock is neither too far ahead nor before all epochs held.

        Raises:
            KeysUnavailableError: it is.
        """
        self._guard.require_right(now_ms)
        if self._epochs:
            first = self._epochs[0].span.start
        else:
            first = self._layout.start_of(self._ratchet.index)
        if now_ms < first:
            raise KeysUnavailableError(
                "The clock is before the oldest epoch of the fleet whose keys can be "
                f"had ({show_time(first)}): earlier ones were erased, and they do not "
                "come back. Check the clock. If it is right, the fleet's file was moved "
                "on by a machine whose clock was ahead, or this server started with such "
                "a clock: look with sg-vllm keys verify FILE. If the file is good, "
                "restart the server; else make a new one for all replicas."
            )

    def is_over(self, span: Span, now_ms: int) -> bool:
        """Tell whether an epoch's keys must be gone; a clock that jumped ends none."""
        if self._elapsed() >= span.elapsed_deadline:
            return True
        return now_ms >= span.retires_at and not self._guard.has_jumped(now_ms)

    def forget_retired(self, now_ms: int) -> None:
        """Drop the secrets of retired epochs."""
        self._epochs = [
            epoch for epoch in self._epochs if not self.is_over(epoch.span, now_ms)
        ]

    def is_due(self, now_ms: int) -> bool:
        """Tell whether the next epoch's keys are due."""
        return self._next_due() <= now_ms

    def may_have_more(self, now_ms: int) -> bool:
        """Tell the same: nobody else makes epochs."""
        return self.is_due(now_ms)

    def next_change_ms(self, now_ms: int) -> int:
        """Return the time until an epoch is to be made or retires.

        At most half a period, since somebody may set the clock meanwhile.
        """
        waits = [self._next_due() - now_ms, self.times.period_ms // 2]
        for epoch in self._epochs[:1]:
            waits.append(epoch.span.retires_at - now_ms)
            waits.append(epoch.span.elapsed_deadline - self._elapsed())
        return max(0, min(waits))

    def _span(self, index: int, now_ms: int) -> Span:
        start = self._layout.start_of(index)
        retires_at = start + self.times.life_ms
        return Span(start, start, retires_at, self._elapsed() + retires_at - now_ms)

    def _next_due(self) -> int:
        next_start = self._layout.start_of(self._ratchet.index)
        return next_start - self.times.period_ms // 2


def require_near(fleet: FleetSecret, now_ms: int) -> None:
    """Refuse a fleet secret whose base epoch is too old to catch up from.

    Raises:
        ConfigurationError: it is.
    """
    if fleet.oldest_live_at(now_ms) - fleet.index > MAX_CATCH_UP:
        raise ConfigurationError(
            f"SG_FLEET_SECRET_FILE: the file's base epoch is more than {MAX_CATCH_UP} "
            f"epochs old, or this machine's clock ({show_time(now_ms)}) is wrong. Check "
            "the clock first: moving the file on by a wrong one destroys it. Then: "
            "sg-vllm keys advance FILE"
        )


def show_time(time_ms: int) -> str:
    """Return a time in Unix milliseconds for people to read."""
    time = datetime.fromtimestamp(time_ms / 1000, timezone.utc)
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")
