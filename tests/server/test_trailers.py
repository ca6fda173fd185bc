"""Trailers, which some servers add to the headers while the body is read: for nobody."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.sealed_authorization import (
    SealedAuthorizationMiddleware,
)
from tests.asgi_driver import CHAT, ASGIApp, Message, make_ring, protect
from tests.gateways.serving import on_a_port
from tests.server.asking import JSON, Recorder, code_of, fresh
from tests.server.sealing import sealed

RING = make_ring()
_, KEY = fresh()
KEYED = (b"x-client-public-key", KEY.encode())
TRAILERS = [(b"authorization", b"Bearer stolen"), (b"x-gw-user", b"admin")]
LIMIT_S = 60


class Reader(Recorder):
    """Looks at the headers when it has read the body."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await super().__call__(scope, receive, send)
        self.headers = list(scope["headers"])


async def ask(
    target: ASGIApp,
    *headers: tuple[bytes, bytes],
    path: str = CHAT,
    body: bytes = b"{}",
    trailers: list[tuple[bytes, bytes]] = TRAILERS,
) -> list[Message]:
    """Ask as a server does that appends trailers to the list that it gave."""
    given = list(headers)
    sent: list[Message] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "root_path": "",
        "headers": given,
    }

    async def receive() -> Message:
        given.extend(trailers)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await target(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (CHAT, [KEYED, (b"content-type", JSON.encode())]),
        ("/v1/audio/transcriptions", [KEYED, (b"content-type", b"audio/wav")]),
        ("/ping", []),
    ],
    ids=["protected", "upload", "clear"],
)
async def test_the_application_gets_none(
    path: str, headers: list[tuple[bytes, bytes]]
) -> None:
    app = Reader()
    sent = await ask(protect(app, RING), *headers, path=path)
    assert sent[0]["status"] == 200
    assert [app.values(name) for name, _ in TRAILERS] == [[], []]


async def test_none_is_a_sealed_request() -> None:
    app = Reader()
    trailer = (b"x-sealed-request", sealed(RING).text.encode())
    sent = await ask(protect(app, RING), trailers=[trailer])
    assert code_of(sent) == (400, "client_key_missing")
    assert app.calls == 0


async def test_none_is_an_authorization() -> None:
    authorized: list[bytes] = []

    async def authentication(scope: Any, receive: Any, send: Any) -> None:
        authorized.extend(it[1] for it in scope["headers"] if it[0] == b"authorization")
        await protect(Recorder(), RING)(scope, receive, send)

    target = SealedAuthorizationMiddleware(
        authentication, Options(), ring_of=lambda scope: RING
    )
    await ask(target, body=sealed(RING).body)
    assert authorized == []


def test_none_comes_through_the_server_that_does_so() -> None:
    pytest.importorskip("httptools")
    app, is_read = Reader(), threading.Event()
    target = protect(app, RING)

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            is_read.set()
            return await receive()

        await target(scope, received, send)

    head = (
        b"POST %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"content-type: application/json\r\nx-client-public-key: %b\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )
    rest = b"2\r\n{}\r\n0\r\nx-gw-user: admin\r\nauthorization: Bearer stolen\r\n\r\n"
    with (
        on_a_port(watched) as port,
        socket.create_connection(("127.0.0.1", port), LIMIT_S) as connection,
    ):
        connection.sendall(head % (CHAT.encode(), KEY.encode()))
        # Not with the head: nobody could tell them from headers then.
        assert is_read.wait(LIMIT_S)
        connection.sendall(rest)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert app.body == b"{}"
    assert [app.values(name) for name, _ in TRAILERS] == [[], []]
