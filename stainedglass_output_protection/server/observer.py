"""Who is told what the protection does: counts, times and our own words, no client's.

A middleware and a key ring tell the observer they were given, or else the process's,
which ``observe_with`` chooses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

logger = logging.getLogger(__name__)

# In place of a route that no row of the table names: its path may be anybody's words.
OTHER_ROUTE = "other"


class Finished(NamedTuple):
    """One request that has ended.

    ``route`` is a row of the table or ``OTHER_ROUTE``, ``outcome`` one of those in
    ``outcomes``, ``code`` that of our refusal, or empty. ``status`` is 0 if no answer
    began. Sizes are bytes on our side of the server. ``seal_s`` is the time to the
    answer's keys and first sealed bytes, None if nothing was sealed.
    """

    request_id: str
    route: str
    status: int
    outcome: str
    code: str
    profile: str
    key_id: str
    is_stream: bool
    bytes_in: int
    bytes_out: int
    seconds: float
    seal_s: float | None


class KeyState(NamedTuple):
    """The epoch keys that a ring holds. Times are Unix milliseconds.

    ``mode`` is where its epochs come from. ``answers_since`` is the start of the epoch
    that answers now, ``retires_at`` when the last key goes if no other is made; None if
    there is no key.
    """

    mode: str
    period_ms: int
    live: int
    answers_since: int | None
    retires_at: int | None


class Observer(Protocol):
    """Is told on the event loop, so each call must be short and must not wait."""

    def request_began(self) -> None:
        """Take note that a request for a protected or unknown route came."""

    def request_ended(self, request: Finished) -> None:
        """Take note of its end; every request that began has one."""

    def rotated(self, *, made: int, has_failed: bool) -> None:
        """Take note of new epoch keys, or that one could not be made."""

    def keys_are(self, state: KeyState) -> None:
        """Take note of the keys that are there now."""


class Telling:
    """Hands on to an observer, whose failures reach the log, once, and no answer."""

    def __init__(self, observer: Observer | None = None) -> None:
        self.observer = observer
        self._has_failed = False

    def request_began(self) -> None:
        """Hand on."""
        self._tell(lambda observer: observer.request_began())

    def request_ended(self, request: Finished) -> None:
        """Hand on."""
        self._tell(lambda observer: observer.request_ended(request))

    def rotated(self, *, made: int, has_failed: bool) -> None:
        """Hand on."""
        self._tell(lambda observer: observer.rotated(made=made, has_failed=has_failed))

    def keys_are(self, state: KeyState) -> None:
        """Hand on."""
        self._tell(lambda observer: observer.keys_are(state))

    def _tell(self, call: Callable[[Observer], None]) -> None:
        if self.observer is None:
            return
        try:
            call(self.observer)
        except Exception as error:
            if not self._has_failed:
                self._has_failed = True
                logger.error(
                    "Metrics are wrong from now on (%s: %s). Check the folder "
                    "PROMETHEUS_MULTIPROC_DIR, then restart the server.",
                    type(error).__name__,
                    error,
                )


_PROCESS = Telling()


def observe_with(observer: Observer | None) -> None:
    """Choose the observer of all middlewares and rings that were given none."""
    _PROCESS.observer = observer


def telling(observer: Observer | None) -> Telling:
    """Return what tells ``observer``, or else the process's."""
    return _PROCESS if observer is None else Telling(observer)
