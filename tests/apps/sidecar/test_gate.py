"""What nobody without a key can take: memory without end, or every place."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from stainedglass_output_protection.apps.forwarding import Limits
from stainedglass_output_protection.apps.sidecar.gate import Gate
from stainedglass_output_protection.asgi import protect
from tests.apps.sidecar.engines import Engine, answering, running
from tests.apps.sidecar.sidecars import READY, Running, beside, posted
from tests.asgi.applications import ASK, CHAT, Bare, Identity, answer
from tests.asgi.serving import TIMEOUT_S, fetched
from tests.asgi_driver import body_of
from tests.server.asking import ask, code_of
from tests.server.observing import Kept

KEYLESS = f"POST {CHAT} HTTP/1.1\r\nHost: s\r\nContent-Type: application/json\r\n"
MESSAGES = KEYLESS.replace(CHAT, "/v1/messages")


@contextlib.contextmanager
def half_sent(sidecar: Running, data: str) -> Iterator[socket.socket]:
    """Yield a connection on which ``data`` has been sent."""
    port = int(sidecar.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(data.encode())
        yield connection


def told_on(connection: socket.socket) -> bytes:
    """Return all that comes until the sidecar closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return received


def test_an_unfinished_request_without_a_key_takes_a_place_and_gives_it_back(
    identity: Identity,
) -> None:
    with (
        running(Engine(answering())) as engine,
        beside(engine.address, limits=Limits(at_once=1)) as sidecar,
    ):
        with half_sent(sidecar, KEYLESS + "Content-Length: 9\r\n\r\n{") as first:
            # The second one on the same connection, so that the first has come.
            busy = wait_for_busy(sidecar)
            # Whoever looks after the sidecar is never kept out.
            assert fetched(sidecar.url + READY).status_code == 200
            first.sendall(b'"a": 1}}')
            first.recv(1)
        told = posted(sidecar.url, identity, ASK, profile="output")

    assert b" 503 " in busy.split(b"\r\n")[0]
    assert b"sidecar_busy" in busy
    assert b"retry-after: 1" in busy.lower()
    assert b'"type":"error"' in busy
    assert told.json() == answer()


def wait_for_busy(sidecar: Running) -> bytes:
    """Ask until the place is taken, and return what is said then."""
    for _ in range(1000):
        with half_sent(
            sidecar, MESSAGES + "Content-Length: 0\r\nConnection: close\r\n\r\n"
        ) as asking:
            said = told_on(asking)
        if b"sidecar_busy" in said:
            return said
    raise AssertionError(said)


@pytest.mark.parametrize("begun", ["", "{"], ids=["nothing", "a piece"])
def test_a_body_that_stands_still_is_given_up(begun: str) -> None:
    with (
        running(Engine(answering())) as engine,
        beside(engine.address, body_s=0.2) as sidecar,
        half_sent(sidecar, KEYLESS + "Content-Length: 9\r\n\r\n" + begun) as slow,
    ):
        said = told_on(slow)

    assert b" 408 " in said.split(b"\r\n")[0]
    assert b"request_too_slow" in said
    assert not engine.asked


async def test_a_body_that_trickles_is_given_up() -> None:
    sent: list[Any] = []

    async def trickling() -> Any:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] == "http.request":
            pass

    async def keep(message: Any) -> None:
        sent.append(message)

    gate = Gate(reading, at_once=1, body_s=TIMEOUT_S, whole_body_s=0.1)
    for _ in range(2):
        await gate({"type": "http", "path": CHAT}, trickling, keep)

    starts = [it["status"] for it in sent if it["type"] == "http.response.start"]
    assert starts == [408, 408]


@pytest.mark.parametrize(
    ("path", "method", "rows"),
    [
        (CHAT, "POST", [CHAT]),
        ("/v1/responses/resp_1", "GET", ["/v1/responses/{response_id}"]),
        ("/made/up", "POST", ["other"]),
        ("/health", "GET", []),
    ],
)
async def test_who_is_turned_away_is_counted_as_if_let_in(
    path: str, method: str, rows: list[str]
) -> None:
    kept = Kept()
    app = protect(Bare(), observer=kept)
    sent = await ask(
        Gate(app, at_once=0, observed=app.observed), path=path, method=method
    )

    assert code_of(sent) == (503, "sidecar_busy")
    assert [it.route for it in kept.ended] == rows
    assert kept.began == len(rows)
    for it in kept.ended:
        assert (it.outcome, it.status, it.code) == ("failed", 503, "")
        assert it.bytes_out == len(body_of(sent))


async def test_who_leaves_or_is_too_slow_in_a_body_is_counted_once() -> None:
    kept = Kept()
    app = protect(Bare(), observer=kept)
    gate = Gate(app, at_once=1, body_s=0.1, observed=app.observed)
    left = await ask(gate, b"{", is_cut=True)
    sent: list[Any] = []

    async def still() -> Any:
        await asyncio.Event().wait()

    async def keep(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
    await gate(scope, still, keep)

    assert left == []
    assert code_of(sent) == (408, "request_too_slow")
    assert [(it.route, it.outcome) for it in kept.ended] == [(CHAT, "cut")] * 2


@pytest.mark.parametrize(
    "body",
    [
        "Content-Length: 5000000000\r\n\r\n{",
        "Transfer-Encoding: chunked\r\n\r\nfff\r\n" + "x" * 4095 + "\r\n",
    ],
    ids=["declared", "in chunks"],
)
def test_the_largest_request_is_so_without_a_key_too(body: str) -> None:
    with (
        running(Engine(answering())) as engine,
        beside(engine.address, limits=Limits(request_bytes=1000)) as sidecar,
        half_sent(sidecar, KEYLESS + "Connection: close\r\n" + body) as large,
    ):
        said = told_on(large)

    assert b" 413 " in said.split(b"\r\n")[0]
    assert b"request_too_large" in said


def test_a_head_without_end_is_not_kept() -> None:
    with (
        running(Engine(answering())) as engine,
        beside(engine.address) as sidecar,
        half_sent(sidecar, f"GET {READY} HTTP/1.1\r\nHost: s\r\nX-Long: ") as endless,
    ):
        with contextlib.suppress(ConnectionError):
            endless.sendall(b"x" * 300_000)
        said = told_on(endless)

    assert said == b"" or b" 400 " in said.split(b"\r\n")[0]
