"""The own route that answers with the key document (``protocol.md#key-document``)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from starlette.types import Scope, Send

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.protocol.routes import REFUSED
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import EpochKey, KeyRing
from stainedglass_output_protection.server.own_answers import (
    answer_whole,
    refuses_method,
)
from stainedglass_output_protection.server.refusals import keys_unavailable
from stainedglass_output_protection.server.refusing import refuse

logger = logging.getLogger(__name__)


async def answer_document(
    scope: Scope, send: Send, *, ring_of: Callable[[Scope], KeyRing]
) -> None:
    """Answer with the current epoch's key document, or 503 if there is none."""
    if await refuses_method(scope, send):
        return
    try:
        ring = ring_of(scope)
        now_ms = unix_ms()
        body = _body(ring, ring.current(now_ms), now_ms)
    except KeysUnavailableError as error:
        logger.error("No key document: %s", error)
        await refuse(keys_unavailable(), REFUSED, send)
        return
    # It is public and signed: a page of any origin may fetch it.
    any_origin = (b"access-control-allow-origin", b"*")
    await answer_whole(scope, send, body, headers=[any_origin])


def _body(ring: KeyRing, key: EpochKey, now_ms: int) -> bytes:
    # What stands beside the document is for people and tools, and unsigned; clients
    # read the document only. By `now`, an answer that something has kept is known.
    statement = key.statement
    members = {
        "document": key.document_text,
        "identity": ring.identity.fingerprint,
        "key_id": statement.key_id.hex(),
        "not_before": statement.epoch,
        "not_after": statement.not_after,
        "now": now_ms,
    }
    return json.dumps(members).encode("ascii")
