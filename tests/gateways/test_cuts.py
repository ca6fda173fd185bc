"""A body that arrives in two pieces, cut at every place there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from stainedglass_output_protection.client.exchange import Exchange
from stainedglass_output_protection.client.request import Request
from stainedglass_output_protection.errors import ResponseError
from tests.client.drivers import CHAT, protection_for
from tests.client.fake_server import (
    DOCUMENT_PATH,
    FakeServer,
    Received,
    Wire,
)
from tests.client.sealed_server import SealedServer, plain_answer

SERVERS: dict[str, Callable[[], FakeServer]] = {
    "output": FakeServer,
    "sealed": SealedServer,
}
LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}
_HOST = "gateway.test"


def asked_once(
    server: FakeServer, *, stream: bool, **settings: Any
) -> tuple[Exchange, Wire]:
    """Return one exchange, and the answer to it as a server sent it."""
    body = json.dumps({"model": "tiny", "messages": [], "stream": stream}).encode()
    request = Request(
        method="POST",
        origin=("http", _HOST, None),
        raw_path=CHAT,
        path=CHAT,
        query="",
        content_type="application/json",
        authorization="",
        body=body,
        has_digest=False,
    )
    exchange = protection_for(server, **settings).begin(request)
    if exchange.document_path is not None:
        document = server.wire_of(Received("GET", DOCUMENT_PATH, [], b""))
        exchange.take_document(document.status, document.body)
    out = exchange.outgoing(request)
    sent = body if out.body is None else out.body
    headers = [("content-type", "application/json"), *out.headers.items()]
    return exchange, server.wire_of(Received("POST", CHAT, headers, sent))


def opened(exchange: Exchange, wire: Wire, pieces: list[bytes]) -> bytes:
    """Return what the pieces of a body open to."""
    body = exchange.receive(wire.status, wire.headers["content-type"])
    payloads = [payload for piece in pieces for payload in body.feed(piece)]
    return b"".join([*payloads, *body.finish()])


@pytest.mark.parametrize("line_end", LINE_ENDS)
@pytest.mark.parametrize("profile", SERVERS)
def test_a_stream_cut_anywhere_opens(profile: str, line_end: str) -> None:
    exchange, wire = asked_once(SERVERS[profile](), stream=True)
    sent = wire.body.replace(b"\n", LINE_ENDS[line_end])
    whole = opened(exchange, wire, [sent])
    assert whole.endswith(b"data: [DONE]\n\n")
    for place in range(len(sent) + 1):
        assert opened(exchange, wire, [sent[:place], sent[place:]]) == whole, place


@pytest.mark.parametrize("stream", [True, False])
def test_an_opaque_body_cut_anywhere_opens(stream: bool) -> None:
    server = SealedServer()
    exchange, wire = asked_once(server, stream=stream, asks_opaque=True)
    whole = plain_answer(server.app.calls[-1]).body
    sent = wire.body
    assert not sent.startswith(b"{")
    for place in range(len(sent) + 1):
        assert opened(exchange, wire, [sent[:place], sent[place:]]) == whole, place


@pytest.mark.parametrize("profile", SERVERS)
def test_a_unary_body_cut_anywhere_opens(profile: str) -> None:
    exchange, wire = asked_once(SERVERS[profile](), stream=False)
    whole = opened(exchange, wire, [wire.body])
    for place in range(len(wire.body) + 1):
        pieces = [wire.body[:place], wire.body[place:]]
        assert opened(exchange, wire, pieces) == whole, place


@pytest.mark.parametrize("asks_opaque", [False, True])
@pytest.mark.parametrize("stream", [True, False])
def test_a_body_that_ends_anywhere_else_is_never_complete(
    stream: bool, asks_opaque: bool
) -> None:
    server = SealedServer()
    exchange, wire = asked_once(server, stream=stream, asks_opaque=asks_opaque)
    sent, whole = wire.body, plain_answer(server.app.calls[-1]).body
    complete = []
    for place in range(len(sent)):
        try:
            assert opened(exchange, wire, [sent[:place]]) == whole, place
        except ResponseError:
            continue
        complete.append(place)
    # Only the clear end, which says nothing, may be missing.
    rest = [sent[place:] for place in complete]
    assert all(it in b"data: [DONE]\n\n" for it in rest)
    assert bool(rest) == (stream and not asks_opaque)
