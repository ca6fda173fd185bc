"""Good sealed requests, to be damaged."""

from __future__ import annotations

import secrets

from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.sealed_request import (
    SealedMessage,
    SealedRequest,
    request_info,
)
from stainedglass_output_protection.protocol.suites import seal
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import EpochKey

CHAT = "/v1/chat/completions"
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'


def sealed_message(
    key: EpochKey, suite: int, *, pair: ClientKeyPair | None = None
) -> SealedMessage:
    """Return a fresh sealed chat request."""
    request = SealedRequest(
        secrets.token_bytes(32),
        bytes(32),
        unix_ms(),
        1,
        "POST",
        CHAT,
        "application/json",
        "",
        BODY,
    )
    client_key = (pair or ClientKeyPair.generate()).public_key
    statement = key.statement
    info = request_info(suite, statement.digest, client_key)
    document = KeyDocument.from_text(key.document_text)
    public_key = document.suite_public_keys[suite]
    ciphertext = seal(suite, public_key, request.encode(), info)
    return SealedMessage(suite, statement.key_id, client_key, ciphertext)
