"""The clocks, in the protocol's unit."""

from __future__ import annotations

import time


def unix_ms() -> int:
    """Return the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def elapsed_ms() -> int:
    """Return milliseconds since some moment, the same for all processes of a machine.

    Nobody can set this clock. On Linux it runs while the machine sleeps, too.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return time.monotonic_ns() // 1_000_000
