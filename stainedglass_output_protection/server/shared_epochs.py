"""Epochs that the API-server processes of one server share, by a file in memory.

Their secrets are random and independent of each other, so what has retired is gone
whatever the clocks do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.server.clock import elapsed_ms
from stainedglass_output_protection.server.epoch_table import (
    Table,
    TableError,
    locked_table,
)
from stainedglass_output_protection.server.epochs import (
    Clock,
    Epoch,
    EpochTimes,
    Span,
)
from stainedglass_output_protection.server.own_epochs import (
    is_due,
    is_over,
    keep_newest,
    new_epoch,
    next_change_ms,
)

# Requests with unknown key ids make a process read the file this often at most.
SHORTEST_LOOK_MS: Final = 50
# Somebody may have asked for a new epoch: what each process knows of it is so old at most.
LONGEST_LOOK_MS: Final = 1000
_FILE_GONE: Final = (
    "The file in which this server's processes share their epochs is gone or damaged. "
    "Restart the server."
)


class SharedEpochs:
    """Whichever process finds no young epoch adds one. An ``EpochSource``.

    ``path`` is a file with a ``Table``. It is opened for each look, and nothing of it
    is kept but times. All processes must be given the same ``times``.
    """

    mode = "server"

    def __init__(
        self, path: Path, times: EpochTimes, *, elapsed: Clock = elapsed_ms
    ) -> None:
        self.times = times
        self._path = path
        self._elapsed = elapsed
        self._spans: list[Span] = []
        self._looked_at: int | None = None
        self._has_failed = False

    def live(self, now_ms: int) -> Sequence[Epoch]:
        """Return the live epochs, with a new one if nobody has made it yet.

        Raises:
            KeysUnavailableError: the file is gone or damaged.
        """
        if not self._has_failed or self._may_look():
            self._looked_at = self._elapsed()
            self._has_failed = True
            try:
                epochs = self._update(now_ms)
            except (OSError, TableError):
                pass
            else:
                self._has_failed = False
                self._spans = [epoch.span for epoch in epochs]
                return epochs
        raise KeysUnavailableError(_FILE_GONE)

    def check(self, now_ms: int) -> None:
        """Return: these keys are good at any time."""

    def is_over(self, span: Span, now_ms: int) -> bool:
        """Tell whether the keys of an epoch must be gone, by either clock."""
        return is_over(span, now_ms, self._elapsed())

    def forget_retired(self, now_ms: int) -> None:
        """Do nothing: secrets are in the file only, which ``live`` cleans."""

    def is_due(self, now_ms: int) -> bool:
        """Tell whether the newest epoch that was seen is a period old."""
        newest = self._spans[-1] if self._spans else None
        return is_due(newest, self.times, now_ms, self._elapsed())

    def may_have_more(self, now_ms: int) -> bool:
        """Tell whether to look in the file for what another process has made."""
        return self._may_look()

    def next_change_ms(self, now_ms: int) -> int:
        """Return the time until the next epoch, the next end of one, or the next look."""
        wait = next_change_ms(self._spans, self.times, self._elapsed())
        return min(wait, LONGEST_LOOK_MS)

    def _may_look(self) -> bool:
        if self._looked_at is None:
            return True
        return self._elapsed() - self._looked_at >= SHORTEST_LOOK_MS

    def add(self, now_ms: int) -> None:
        """Add an epoch now, due or not. One more than may live ends the oldest.

        Raises:
            KeysUnavailableError: the file is gone or damaged.
        """
        try:
            self._update(now_ms, adds=True)
        except (OSError, TableError):
            raise KeysUnavailableError(_FILE_GONE) from None

    def _update(self, now_ms: int, *, adds: bool = False) -> tuple[Epoch, ...]:
        with locked_table(self._path) as file:
            table = file.read()
            epochs = [it for it in table.epochs if not self.is_over(it.span, now_ms)]
            newest_start = table.newest_start
            newest = epochs[-1].span if epochs else None
            if adds or is_due(newest, self.times, now_ms, self._elapsed()):
                epoch = new_epoch(self.times, newest_start, now_ms, self._elapsed())
                newest_start = epoch.span.start
                epochs = keep_newest([*epochs, epoch], self.times)
            updated = Table(newest_start, tuple(epochs))
            if updated != table:
                file.write(updated)
        return updated.epochs
