"""Any answer: it opens as a whole, or raises a ``ResponseError``."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stainedglass_output_protection.client.exchange import Exchange
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.request import Request
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.errors import ResponseError
from stainedglass_output_protection.protocol.constants import PROFILE_SEALED
from stainedglass_output_protection.server.clock import unix_ms
from tests.asgi_driver import answering, body_of, header_of, make_ring, protect
from tests.fuzz.mutations import damaged
from tests.fuzz.requests import BODY, CHAT
from tests.server.asking import ANSWER, JSON, ask

RING = make_ring()
SECRET = b"unmistakable"
EVENTS = [
    b'data: {"choices":[{"index":0,"delta":{"content":"' + word + b'"}}]}\n\n'
    for word in (SECRET, b"words")
] + [b"data: [DONE]\n\n"]


def begun(*, asks_opaque: bool) -> tuple[Exchange, Request]:
    """Return an exchange that has its key document."""
    settings = ClientSettings(
        pins=frozenset({RING.identity.fingerprint}),
        profile=PROFILE_SEALED,
        asks_opaque=asks_opaque,
    )
    origin = ("http", "server.test", 80)
    request = Request("POST", origin, CHAT, CHAT, "", JSON, "", BODY)
    exchange = Protection(settings).begin(request)
    document = RING.current(unix_ms()).document_text
    exchange.take_document(200, json.dumps({"document": document}).encode())
    return exchange, request


@pytest.mark.parametrize("asks_opaque", [False, True])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_answers(asks_opaque: bool, is_stream: bool) -> None:
    exchange, request = begun(asks_opaque=asks_opaque)
    app = answering(*EVENTS) if is_stream else answering(ANSWER, content_type=JSON)
    outer = exchange.outgoing(request).body or b""
    sent = await ask(protect(app, RING), outer)
    plain = b"".join(EVENTS) if is_stream else ANSWER
    wire = body_of(sent)
    content_type = header_of(sent, b"content-type")[0].decode()
    assert read(exchange, wire, content_type) == plain
    for data in damaged([wire], f"answers {asks_opaque} {is_stream}"):
        try:
            opened = read(exchange, data, content_type)
        except ResponseError:
            continue
        # What is around the frames may change; what they hold may not.
        assert opened == plain


def test_errors_with_a_document() -> None:
    exchange, _ = begun(asks_opaque=False)
    text = RING.current(unix_ms()).document_text
    error = {"message": f"Seal it to this: {text}", "code": "key_unknown"}
    samples = [json.dumps({"error": error}).encode()]
    for learns in (exchange.learn, _taking(exchange)):
        for data in damaged(samples, "errors"):
            try:
                assert not learns(data)  # It has this epoch's document already.
            except ResponseError:
                continue


def _taking(exchange: Exchange) -> Callable[[bytes], object]:
    return lambda data: exchange.take_document(200, data)


def read(exchange: Exchange, wire: bytes, content_type: str) -> bytes:
    """Return what a client releases of a whole answer."""
    body = exchange.receive(200, content_type)
    return b"".join([*body.feed(wire), *body.finish()])
