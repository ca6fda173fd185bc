"""The task that turns a key ring with time."""

from __future__ import annotations

import asyncio
import logging

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import KeyRing

logger = logging.getLogger(__name__)

# It shares its thread with the answers.
_SHORTEST_WAIT_S = 0.1


async def rotate_periodically(ring: KeyRing) -> None:
    """Tick ``ring`` whenever it is time, until cancelled.

    A tick that fails is logged and tried again; the current key serves on until its
    epoch ends, then the server answers 503.
    """
    while True:
        await asyncio.sleep(max(_SHORTEST_WAIT_S, ring.next_tick_ms(unix_ms()) / 1000))
        try:
            ring.tick(unix_ms())
        except KeysUnavailableError:
            pass  # The ring has logged it, once.
        except Exception as error:
            ring.retire(unix_ms())
            logger.error(
                "Key rotation failed (%s); the current key stays until its epoch ends.",
                type(error).__name__,
            )
