"""The lines that say what the engine did wrong: with the id of the request's own line.

A complaint of a client leads to the one line, and from there to the other.
"""

from __future__ import annotations

import contextvars
import logging

from stainedglass_output_protection.apps.forwarding import Done
from stainedglass_output_protection.apps.sidecar.failures import EngineFailures
from stainedglass_output_protection.server.observer import (
    Finished,
    KeyState,
    Observer,
)

logger = logging.getLogger(__name__)

_FIRST_FAILURE = 500
# The failures of the request that this task serves, while it is one with an id.
_failed: contextvars.ContextVar[list[Done] | None] = contextvars.ContextVar(
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
        waiting = _failed.get()
        if waiting is None:
            self._log(it, "-")  # Of a route that is not protected.
        else:
            waiting.append(it)

    def request_began(self) -> None:
        """Hand on."""
        _failed.set([])
        self._inner.request_began()

    def request_ended(self, request: Finished) -> None:
        """Hand on."""
        for it in _failed.get() or ():
            self._log(it, request.request_id)
        _failed.set(None)
        self._inner.request_ended(request)

    def rotated(self, *, made: int, has_failed: bool) -> None:
        """Hand on."""
        self._inner.rotated(made=made, has_failed=has_failed)

    def keys_are(self, state: KeyState) -> None:
        """Hand on."""
        self._inner.keys_are(state)

    def _log(self, it: Done, request_id: str) -> None:
        if it.error is None:
            return
        failure = self._failures.describe(it.error, has_begun=it.status is not None)
        is_ours = failure.status >= _FIRST_FAILURE
        logger.log(
            logging.ERROR if is_ours else logging.INFO,
            "%s %s: %s id=%s",
            it.method,
            it.path.encode("unicode_escape").decode("ascii"),
            self._failures.words(failure, it.error),
            request_id,
        )
