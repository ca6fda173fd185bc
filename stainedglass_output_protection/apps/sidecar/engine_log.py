"""The lines that say what the engine did wrong: with the id of the request's own line.

A complaint of a client leads to the one line, and from there to the other.
"""

from __future__ import annotations

import contextvars
import logging
from typing import NamedTuple

from stainedglass_output_protection.apps.forwarding import Done
from stainedglass_output_protection.apps.sidecar.failures import EngineFailures
from stainedglass_output_protection.server.observer import (
    Finished,
    KeyState,
    Observer,
)

logger = logging.getLogger(__name__)

_FIRST_FAILURE = 500


class _Line(NamedTuple):
    """One failure, as it is logged but for the id. Of the error itself nothing stays.

    Cancelled timers keep their task's context for long, and an error's frames keep the
    request's body.
    """

    level: int
    words: str


# The failures of the request that this task serves, while it is one with an id.
_failed: contextvars.ContextVar[list[_Line] | None] = contextvars.ContextVar(
    "failed", default=None
)


def forget_request() -> None:
    """Begin anew: a connection's requests may share what its first one left here."""
    _failed.set(None)


class EngineLog:
    """An ``Observer`` that logs failures at their request's end; ``inner`` is told all."""

    def __init__(self, inner: Observer, failures: EngineFailures) -> None:
        self._inner = inner
        self._failures = failures

    def done(self, it: Done) -> None:
        """Take note of a request that the engine has, or has not, answered."""
        if it.error is None:
            return
        line = self._line(it, it.error)
        waiting = _failed.get()
        if waiting is None:
            _log(line, "-")  # Of a route that is not protected.
        else:
            waiting.append(line)

    def request_began(self) -> None:
        """Hand on."""
        _failed.set([])
        self._inner.request_began()

    def request_ended(self, request: Finished) -> None:
        """Hand on."""
        for it in _failed.get() or ():
            _log(it, request.request_id)
        _failed.set(None)
        self._inner.request_ended(request)

    def rotated(self, *, made: int, has_failed: bool) -> None:
        """Hand on."""
        self._inner.rotated(made=made, has_failed=has_failed)

    def keys_are(self, state: KeyState) -> None:
        """Hand on."""
        self._inner.keys_are(state)

    def _line(self, it: Done, error: BaseException) -> _Line:
        failure = self._failures.describe(error, has_begun=it.status is not None)
        path = it.path.encode("unicode_escape").decode("ascii")
        return _Line(
            logging.ERROR if failure.status >= _FIRST_FAILURE else logging.INFO,
            f"{it.method} {path}: {self._failures.words(failure, error)}",
        )


def _log(line: _Line, request_id: str) -> None:
    logger.log(line.level, "%s id=%s", line.words, request_id)
