"""A process that stops: it takes no more requests and finishes those that it has begun."""

from __future__ import annotations

import threading
import time
from typing import Final


class Draining:
    """Counts the requests that run. ``is_stopping`` says that no more are taken.

    A request runs when what it asks has been read: nobody waits for a client.
    """

    def __init__(self) -> None:
        self.is_stopping = False
        self._running = 0
        self._changed = threading.Condition()

    def request_began(self) -> bool:
        """Take note that a request runs; return false if no more are taken."""
        with self._changed:
            if not self.is_stopping:
                self._running += 1
            return not self.is_stopping

    def request_ended(self) -> None:
        """Take note of the end of a request that was taken."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def finish(self, timeout_s: float) -> float:
        """Take no more requests; return, with the seconds left, when none runs.

        At most ``timeout_s`` go by. It blocks its thread, which must not be the one
        that answers.
        """
        until = time.monotonic() + timeout_s
        with self._changed:
            self.is_stopping = True
            self._changed.wait_for(lambda: self._running == 0, timeout_s)
        return max(0.0, until - time.monotonic())


class _Process:
    """The state of this process, in an attribute so that a test can have its own."""

    draining: Draining = Draining()


PROCESS: Final = _Process()
