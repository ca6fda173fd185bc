"""The task that turns a key ring with time."""

from __future__ import annotations

import asyncio
import logging

from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import KeyRing

logger = logging.getLogger(__name__)


async def rotate_periodically(ring: KeyRing, period_s: float) -> None:
    """Rotate ``ring`` every ``period_s`` seconds, until cancelled.

    A rotation that fails is logged and tried again at the next period; the current key
    serves on until its epoch ends, then the server answers 503.
    """
    while True:
        await asyncio.sleep(period_s)
        try:
            ring.rotate(unix_ms())
        except Exception as error:
            ring.retire(unix_ms())
            logger.error(
                "Key rotation failed (%s); the current key stays until its epoch ends.",
                type(error).__name__,
            )
