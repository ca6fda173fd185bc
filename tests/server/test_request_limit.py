"""The longest body that an operator takes: refused by its length, or where it is over."""

from __future__ import annotations

from typing import Any

import pytest

from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.policy import KeylessPolicy
from stainedglass_output_protection.server.sealed_authorization import (
    SealedAuthorizationMiddleware,
)
from tests.asgi_driver import CHAT, ASGIApp, Message, make_ring, protect
from tests.server.asking import JSON, Recorder, code_of, fresh
from tests.server.sealing import sealed

RING = make_ring()
KEYED = (b"x-client-public-key", fresh()[1].encode())
LIMIT = 4096
PIECE = b"a" * 1000
TOO_LARGE = (413, "request_too_large")


class Body:
    """A body in pieces. ``given`` counts those that were asked for."""

    def __init__(self, *pieces: bytes) -> None:
        self.given = 0
        self._pieces = pieces

    async def receive(self) -> Message:
        piece = self._pieces[self.given]
        self.given += 1
        has_more = self.given < len(self._pieces)
        return {"type": "http.request", "body": piece, "more_body": has_more}


async def ask(
    target: ASGIApp, body: Body, *headers: tuple[bytes, bytes], kind: str = JSON
) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": CHAT,
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", kind.encode()), *headers],
    }
    await target(scope, body.receive, send)
    return sent


def in_both_layers(app: ASGIApp, **options: Any) -> ASGIApp:
    """Return ``app`` protected, and what opens sealed API keys around that."""
    inner = protect(app, RING, **options)
    return SealedAuthorizationMiddleware(
        inner, Options(**options), ring_of=lambda scope: RING
    )


def in_one_layer(app: ASGIApp, **options: Any) -> ASGIApp:
    return protect(app, RING, **options)


LAYERS = pytest.mark.parametrize("layers", [in_one_layer, in_both_layers])


@LAYERS
@pytest.mark.parametrize("length", [b"4097", b"99999999999999999999"])
async def test_a_length_above_it_is_refused_before_anything_is_read(
    layers: Any, length: bytes
) -> None:
    app, body = Recorder(), Body(PIECE)
    target = layers(app, max_request_bytes=LIMIT)
    sent = await ask(target, body, (b"content-length", length))
    assert code_of(sent) == TOO_LARGE
    assert (body.given, app.calls) == (0, 0)


@LAYERS
@pytest.mark.parametrize("headers", [[], [(b"content-length", b"five")], [KEYED]])
@pytest.mark.parametrize("kind", [JSON, "multipart/form-data; boundary=b"])
async def test_a_body_of_no_length_is_refused_where_it_is_over(
    layers: Any, headers: list[tuple[bytes, bytes]], kind: str
) -> None:
    app, body = Recorder(), Body(*[PIECE] * 100)
    target = layers(app, max_request_bytes=LIMIT, keyless=KeylessPolicy.DISCARD)
    sent = await ask(target, body, *headers, kind=kind)
    is_in_pieces = headers == [KEYED] and kind != JSON
    # An upload in its pieces is the application's, and what it raises is sealed.
    assert sent[0]["status"] == (500 if is_in_pieces else 413)
    assert body.given == 5
    assert app.calls == is_in_pieces


@LAYERS
async def test_a_body_up_to_it_is_taken(layers: Any) -> None:
    app = Recorder()
    target = layers(app, max_request_bytes=LIMIT)
    for body in (b" " * (LIMIT - 2) + b"{}", b"{}"):
        length = (b"content-length", b"%d" % len(body))
        sent = await ask(target, Body(body[:1], body[1:]), KEYED, length)
        assert sent[0]["status"] == 200
        assert app.body == body


@LAYERS
async def test_sealed_requests_are_under_it_too(layers: Any) -> None:
    app = Recorder()
    made = sealed(RING, body=b'{"a":"%b"}' % (PIECE * 4))
    assert len(made.body) > LIMIT
    sent = await ask(layers(app, max_request_bytes=LIMIT), Body(made.body))
    assert code_of(sent) == TOO_LARGE
    # No replay: it was not recorded.
    sent = await ask(layers(app), Body(made.body))
    assert made.open(sent).is_complete


@LAYERS
async def test_without_it_the_application_says_how_much(layers: Any) -> None:
    app = Recorder()
    length = (b"content-length", b"3000000")
    sent = await ask(layers(app), Body(*[PIECE] * 3000), KEYED, length)
    assert sent[0]["status"] == 200
    assert len(app.body) == 3_000_000
