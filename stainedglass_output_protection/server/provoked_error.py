"""The error that a sealed request may ask for, to show who sends it again.

Specification: ``protocol.md#path-probe``. They are given seldom: what stands in front of
a server may take one that fails out of service. Authentication in front of the
protection counts for them; that of an engine behind a sidecar does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from stainedglass_output_protection.errors import RequestError
from stainedglass_output_protection.protocol.path_probe import ERROR_MEDIA_TYPE
from stainedglass_output_protection.protocol.sealed_request import SealedRequest

_APART_S: Final = 60.0


def error_provoked() -> RequestError:
    """Return the error that a request has asked for."""
    return RequestError(
        "This error was asked for, to show what is done with it on the way.",
        code="error_provoked",
        status=503,
    )


class ProvokedErrors:
    """Counts out the errors of one process. ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = clock()

    def refuse_if_asked(self, request: SealedRequest) -> None:
        """Refuse a request that asks for an error, if the last one is a minute ago.

        Any other goes to the application, which does not know its content type. The
        request has to stay recorded, unlike one that failed: then a second arrival of
        it is told by its own refusal.

        Raises:
            RequestError: the error that was asked for.
        """
        if request.content_type != ERROR_MEDIA_TYPE:
            return
        now_s = self._clock()
        if now_s < self._next_s:
            return
        self._next_s = now_s + _APART_S
        raise error_provoked()


# One for all that a process serves, as what is in front of it counts them.
PROVOKED_ERRORS: Final = ProvokedErrors()
