"""Seals requests by hand, with any mistake, and opens what is answered."""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
from dataclasses import dataclass
from typing import Any

from stainedglass_output_protection.protocol.constants import (
    CONTAINER_FIELDS,
    SUITE_X25519,
)
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.key_schedule import RequestSecrets
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.sealed_request import (
    SealedMessage,
    SealedRequest,
    request_info,
)
from stainedglass_output_protection.protocol.suites import seal
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import EpochKey, KeyRing
from tests.asgi_driver import CHAT, Message, Opened
from tests.server.asking import JSON

OWNER = bytes(range(32))
PREFIX = "sgop1-request."


def request_of(**changes: Any) -> SealedRequest:
    """Return a request for a chat, with these changes."""
    made = SealedRequest(
        response_secret=secrets.token_bytes(32),
        owner=OWNER,
        time_ms=unix_ms(),
        container=CONTAINER_FIELDS,
        method="POST",
        target=CHAT,
        content_type=JSON,
        authorization="",
        body=b"{}",
    )
    return dataclasses.replace(made, **changes)


@dataclass(frozen=True)
class Sealed:
    """A sealed request, and what opens its answer."""

    message: SealedMessage
    key_pair: ClientKeyPair
    secrets: RequestSecrets

    @property
    def text(self) -> str:
        """The text of the message."""
        return self.message.to_text()

    @property
    def body(self) -> bytes:
        """A body that carries it."""
        return carrying(self.text)

    def open(self, sent: list[Message]) -> Opened:
        """Open the answer."""
        suite = self.message.suite
        return Opened(sent, self.key_pair, request=self.secrets, suite=suite)

    def code(self, sent: list[Message]) -> tuple[int, Any]:
        """Return the status and the code of a sealed error, alike in and out."""
        opened = self.open(sent)
        assert opened.is_complete
        assert opened.status == sent[0]["status"]
        return sent[0]["status"], json.loads(opened.body)["error"]["code"]


def sealed(
    ring: KeyRing | EpochKey,
    *,
    suite: int = SUITE_X25519,
    plaintext: bytes | None = None,
    **changes: Any,
) -> Sealed:
    """Seal a request, or any plaintext, to an epoch: a ring's current one."""
    key = ring.current(unix_ms()) if isinstance(ring, KeyRing) else ring
    document = KeyDocument.from_text(key.document_text)
    digest = document.statement.digest
    key_pair = ClientKeyPair.generate()
    request = request_of(**changes)
    info = request_info(suite, digest, key_pair.public_key)
    data = request.encode() if plaintext is None else plaintext
    ciphertext = seal(suite, document.suite_public_keys[suite], data, info)
    message = SealedMessage(
        suite, document.statement.key_id, key_pair.public_key, ciphertext
    )
    bound = RequestSecrets(request.response_secret, message.request_hash, digest)
    return Sealed(message, key_pair, bound)


def carrying(text: str, **members: Any) -> bytes:
    """Return a chat's body that carries a text."""
    messages = [{"role": "user", "content": text}]
    return json.dumps({**members, "messages": messages}).encode()


def text_of(data: bytes) -> str:
    """Return the text form of a message's bytes, whatever they are."""
    return PREFIX + base64.b64encode(data).decode()
