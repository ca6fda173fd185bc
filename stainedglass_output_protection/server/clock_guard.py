"""Notices a wall clock that jumped forward, by a clock that nobody can set."""

from __future__ import annotations

from typing import Final

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.server.clock import elapsed_ms
from stainedglass_output_protection.server.epochs import Clock

MAX_JUMP_MS: Final = 5 * 60 * 1000


class ClockGuard:
    """Compares the wall clock with the time that has passed since it was last right."""

    def __init__(self, elapsed: Clock = elapsed_ms) -> None:
        self._elapsed = elapsed
        self._right_at: tuple[int, int] | None = None

    def has_jumped(self, now_ms: int) -> bool:
        """Tell whether the wall clock is too far ahead of the time that has passed."""
        return self._right_at is not None and now_ms - self._expected() > MAX_JUMP_MS

    def require_right(self, now_ms: int) -> None:
        """Return if the clock has not jumped forward.

        Raises:
            KeysUnavailableError: it has.
        """
        if self.has_jumped(now_ms):
            raise KeysUnavailableError(
                "The clock jumped forward by more than 5 minutes, so no epoch of the "
                "fleet is made or used. Set it right; if it is right now, restart the "
                "server."
            )

    def take_as_right(self, now_ms: int) -> None:
        """Remember that the clock is right, unless it went back: it may come forward."""
        now_ms = now_ms if self._right_at is None else max(now_ms, self._expected())
        self._right_at = (now_ms, self._elapsed())

    def _expected(self) -> int:
        if self._right_at is None:
            return 0
        wall, elapsed = self._right_at
        return wall + self._elapsed() - elapsed
