"""Any bytes: they parse, or give the documented error; and what parses encodes the same."""

from __future__ import annotations

import pytest

from stainedglass_output_protection.errors import (
    ClientKeyError,
    DecryptionError,
    KeyDocumentError,
    MalformedFrameError,
)
from stainedglass_output_protection.protocol.encoding import frame_from_text
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.keys import (
    ClientKeyPair,
    encode_client_key,
    parse_client_key,
)
from stainedglass_output_protection.protocol.request_carriers import (
    outer_json,
    outer_multipart,
    routed_members,
    shown_members,
    text_in,
)
from stainedglass_output_protection.protocol.sealed_request import (
    SealedMessage,
    SealedRequest,
)
from stainedglass_output_protection.protocol.statement import Statement
from stainedglass_output_protection.protocol.suites import SUITE_NUMBERS
from stainedglass_output_protection.server.clock import unix_ms
from tests.asgi_driver import make_ring
from tests.fuzz.mutations import damaged
from tests.fuzz.requests import sealed_message

RING = make_ring()
KEY = RING.current(unix_ms())
TEXTS = [sealed_message(KEY, suite).to_text() for suite in SUITE_NUMBERS]
REQUEST = SealedRequest(
    bytes(32), bytes(range(32)), unix_ms(), 1, "POST", "/v1/x", "a/b", "Bearer k", b"{}"
)


def test_statements() -> None:
    for data in damaged([KEY.statement.encode()], "statements"):
        try:
            statement, end = Statement.parse_prefix(data)
        except MalformedFrameError:
            continue
        assert statement.encode() == data[:end]


def test_key_documents() -> None:
    for data in damaged([KEY.document_text.encode()], "documents"):
        text = data.decode("utf-8", "replace")
        try:
            document = KeyDocument.from_text(text)
        except KeyDocumentError:
            continue
        assert document.to_text() == text


def test_sealed_messages() -> None:
    for data in damaged([text.encode() for text in TEXTS], "messages"):
        text = data.decode("utf-8", "replace")
        try:
            message = SealedMessage.from_text(text)
        except MalformedFrameError:
            continue
        assert message.to_text() == text
        if text not in TEXTS and message.key_id == KEY.statement.key_id:
            with pytest.raises((DecryptionError, MalformedFrameError)):
                message.open(KEY.statement.digest, KEY.open)


def test_plaintexts_of_requests() -> None:
    for data in damaged([REQUEST.encode()], "plaintexts"):
        try:
            request = SealedRequest.decode(data)
        except MalformedFrameError:
            continue
        # Recipients check the zeros, not how many there are.
        assert request.encode().rstrip(b"\0") == data.rstrip(b"\0")


def test_client_keys() -> None:
    good = encode_client_key(ClientKeyPair.generate().public_key).encode()
    for data in damaged([good], "client keys"):
        text = data.decode("utf-8", "replace")
        try:
            key = parse_client_key(text)
        except ClientKeyError:
            continue
        assert encode_client_key(key) == text


def test_frame_texts() -> None:
    for data in damaged([b"sgop1.AAECAwQF", b"sgop1."], "frame texts"):
        try:
            frame_from_text(data.decode("utf-8", "replace"))
        except MalformedFrameError:
            continue


def test_carriers() -> None:
    form, upload = outer_multipart(TEXTS[0], {"model": "m"})
    shown = {"model": "m", "stream": True}
    samples = [
        upload,
        *(outer_json(carrier, TEXTS[0], shown) for carrier in ("chat", "x")),
    ]
    for data in damaged(samples, "carriers"):
        for content_type in (form, "application/json", "multipart/x", ""):
            try:
                text_in(content_type, data)
            except MalformedFrameError:
                pass
            routed_members(content_type, data)
        shown_members(data)
