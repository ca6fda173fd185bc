"""New epoch keys when an operator sends a signal: SIGUSR1, to the server's first process.

Not SIGHUP: that ends a server whose terminal is closed, and has to go on doing so.

The signal is blocked for the whole process and those it starts, and a thread waits for
it. So it interrupts nothing, is not lost while the server starts, and cannot end a
process that knows nothing of it, if somebody signals a whole group.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any, Final

logger = logging.getLogger(__name__)

_NAME: Final = "SIGUSR1"


def block_rotation_signal() -> None:
    """Block the signal. Call it first of all, before any thread or process is started."""
    signals = _signals()
    if signals:
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)


def rotate_on_signal(rotate: Callable[[], None]) -> None:
    """Start a thread that calls ``rotate`` for each signal, until the process ends.

    The signal has to be blocked. Several at once may count as one. What ``rotate``
    raises is logged by its kind.
    """
    signals = _signals()
    if signals:
        threading.Thread(
            target=_wait, args=(signals, rotate), name="sg-rotation", daemon=True
        ).start()


def _wait(signals: set[Any], rotate: Callable[[], None]) -> None:
    while True:
        signal.sigwait(signals)
        try:
            rotate()
        except Exception as error:
            logger.error(
                "%s: no new epoch was made (%s). The current key stays.",
                _NAME,
                type(error).__name__,
            )


def _signals() -> set[Any]:
    # Where the system has no such thing, there is no rotation by signal.
    number = getattr(signal, _NAME, None)
    return {number} if number is not None and hasattr(signal, "sigwait") else set()
