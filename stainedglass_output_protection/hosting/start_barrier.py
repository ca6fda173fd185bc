"""Requests that an earlier process of a fleet may have run are not run again.

Specification: ``protocol.md#replay``. Epoch keys of a fleet outlive a process, but what it
has seen does not.
"""

from __future__ import annotations

import asyncio
import logging

from stainedglass_output_protection.protocol.constants import MAX_AHEAD_MS
from stainedglass_output_protection.server.clock import unix_ms

logger = logging.getLogger(__name__)

# An earlier process ended before this one began, and took no request that was timed
# further ahead.
_MARK_MS = unix_ms() + MAX_AHEAD_MS


def start_mark_ms() -> int:
    """Return the time up to which requests are refused (Unix milliseconds)."""
    return _MARK_MS


async def pass_the_mark() -> None:
    """Wait until requests of now are taken: before that the server is not ready."""
    remaining_ms = _MARK_MS - unix_ms()
    if remaining_ms > 0:
        # Loud, since servers like uvicorn show nothing of ours below it, and wait.
        logger.warning(
            "Not ready yet, for %d s: until then this replica could not tell requests "
            "that an earlier process has run from new ones.",
            -(-remaining_ms // 1000),
        )
    while _MARK_MS >= unix_ms():
        await asyncio.sleep(min(1.0, (_MARK_MS - unix_ms()) / 1000 + 0.01))
