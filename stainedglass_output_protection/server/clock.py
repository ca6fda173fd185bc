"""The wall clock in the protocol's unit."""

from __future__ import annotations

import time


def unix_ms() -> int:
    """Return the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000
