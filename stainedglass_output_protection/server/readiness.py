"""Whether this process has a usable key, for probes: needs no key and no authorization."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, Final

from starlette.types import Scope, Send

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.draining import PROCESS
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.own_answers import (
    answer_whole,
    refuses_method,
)

logger = logging.getLogger(__name__)

READY_PATH: Final = f"{DOCUMENT_PATH}/ready"
_NO_KEYS: Final = "This server has no epoch keys. Its log says why."


async def answer_readiness(
    scope: Scope, send: Send, *, ring_of: Callable[[Scope], KeyRing]
) -> None:
    """Answer 200 with the key that is in force, or 503 with the reason why none is."""
    if await refuses_method(scope, send):
        return
    try:
        state = _state_of(_ring(scope, ring_of), unix_ms())
    except KeysUnavailableError as error:
        # A ring's words are ours, with names of settings and times; it has logged them.
        await answer_not_ready(scope, send, str(error))
        return
    await answer_whole(scope, send, json.dumps(state).encode("ascii"))


async def answer_not_ready(scope: Scope, send: Send, reason: str) -> None:
    """Answer 503 with one sentence that says what is missing."""
    body = json.dumps({"ready": False, "reason": reason}).encode("ascii")
    await answer_whole(scope, send, body, status=503)


def _ring(scope: Scope, ring_of: Callable[[Scope], KeyRing]) -> KeyRing:
    if PROCESS.draining.is_stopping:
        raise KeysUnavailableError("The server is stopping: it takes no requests.")
    try:
        return ring_of(scope)
    except KeysUnavailableError as error:
        # What failed to make a ring may name the operator's files: not to the public.
        logger.error("Not ready: %s", error)
        raise KeysUnavailableError(_NO_KEYS) from None


def _state_of(ring: KeyRing, now_ms: int) -> dict[str, Any]:
    key = ring.current(now_ms)
    state = ring.state(now_ms)
    return {
        "ready": True,
        "mode": state.mode,
        "key_id": key.key_id_hex,
        "key_age_s": max(0, now_ms - key.span.start) // 1000,
        # When nothing could be answered any more if no other key is made.
        "expires_in_s": max(0, (state.retires_at or now_ms) - now_ms) // 1000,
        "live_keys": state.live,
    }
