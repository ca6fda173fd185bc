"""Connections on which no whole request head comes are closed; all others are not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from stainedglass_output_protection.apps.proxy.reading import fastest_reader, h11_reader
from tests.apps.proxy.raw import TIMEOUT_S
from tests.apps.proxy.running import proxied
from tests.client.drivers import protection_for
from tests.client.sealed_server import SealedServer

HEAD = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LIMIT_S = 30.0
HALVES = [b"", b"GET /v1/mod", HEAD, HEAD + b"X-Long: a"]
READERS: list[Callable[..., Any]] = [h11_reader, fastest_reader]


@pytest.fixture(params=READERS, ids=lambda it: it.__name__)
def reader(request: pytest.FixtureRequest) -> Callable[..., Any]:
    made: Callable[..., Any] = request.param
    return made


class Timer:
    """Calls when its time has come, unless it was cancelled."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Clock:
    """Stands for the event loop's clock: no time passes unless it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        self._timers.append(Timer(self.now + delay, call))
        return self._timers[-1]

    def create_task(self, work: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for timer in self._timers:
            if timer.at <= self.now and timer.call is not None:
                call = timer.call
                timer.cancel()
                call()


class Wire(asyncio.Transport):
    """What a program sees of one connection."""

    def __init__(self) -> None:
        super().__init__()
        self.received = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.received += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Program:
    """One connection to an application that answers when it is told."""

    def __init__(self, reader: Callable[..., Any]) -> None:
        self.clock = Clock()
        self.wire = Wire()
        self._may_answer = asyncio.Event()
        config = uvicorn.Config(
            self._app,
            log_config=None,
            ws="none",
            interface="asgi3",
            lifespan="off",
            timeout_keep_alive=10**6,
        )
        self._protocol = reader(LIMIT_S)(
            config=config, server_state=ServerState(), app_state={}, _loop=self.clock
        )
        self._protocol.connection_made(self.wire)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await self._may_answer.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    def say(self, data: bytes) -> None:
        self._protocol.data_received(data)

    async def answer(self) -> None:
        """Let the running request be answered, and wait for that."""
        count = self.wire.received.count(b"\r\nok") + 1
        self._may_answer.set()
        for _ in range(100):
            await asyncio.sleep(0)
        assert self.wire.received.count(b"\r\nok") == count
        self._may_answer.clear()


@pytest.mark.parametrize("half", HALVES)
async def test_a_first_head_has_its_time_and_no_more(
    reader: Callable[..., Any], half: bytes
) -> None:
    program = Program(reader)
    if half:
        program.say(half)
    program.clock.wait(LIMIT_S - 1)
    assert not program.wire.is_closed
    program.clock.wait(1)

    assert program.wire.is_closed


async def test_byte_by_byte_gives_no_more_time(reader: Callable[..., Any]) -> None:
    program = Program(reader)
    for at in range(int(LIMIT_S)):
        assert not program.wire.is_closed
        program.say(HEAD[at : at + 1])
        program.clock.wait(1)

    assert program.wire.is_closed


@pytest.mark.parametrize("half", HALVES[1:])
async def test_so_has_the_next_head_from_its_first_byte(
    reader: Callable[..., Any], half: bytes
) -> None:
    program = Program(reader)
    program.say(HEAD + b"\r\n")
    await program.answer()
    program.clock.wait(LIMIT_S + 1)
    assert not program.wire.is_closed
    for byte in half:
        program.say(bytes([byte]))
    program.clock.wait(LIMIT_S - 1)
    assert not program.wire.is_closed
    program.clock.wait(1)

    assert program.wire.is_closed


async def test_empty_lines_begin_no_head(reader: Callable[..., Any]) -> None:
    program = Program(reader)
    program.say(HEAD + b"\r\n")
    await program.answer()
    for _ in range(int(LIMIT_S)):
        if not program.wire.is_closed:
            program.say(b"\r\n")
        program.clock.wait(1)

    assert program.wire.is_closed


async def test_a_body_behind_its_answer_has_no_more(
    reader: Callable[..., Any],
) -> None:
    program = Program(reader)
    program.say(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    await program.answer()
    for _ in range(int(LIMIT_S)):
        program.say(b"x")
        program.clock.wait(1)

    assert program.wire.is_closed


async def test_whoever_sent_a_head_is_left_alone(reader: Callable[..., Any]) -> None:
    program = Program(reader)
    program.clock.wait(LIMIT_S - 1)
    program.say(HEAD)
    program.say(b"\r\n")
    # An answer, such as a long stream, has all the time that it needs.
    program.clock.wait(10 * LIMIT_S)
    assert not program.wire.is_closed
    await program.answer()
    program.say(HEAD[:9])
    program.clock.wait(LIMIT_S - 1)
    program.say(HEAD[9:] + b"\r\n")
    program.clock.wait(10 * LIMIT_S)
    await program.answer()

    assert not program.wire.is_closed


async def test_a_long_body_has_all_the_time(reader: Callable[..., Any]) -> None:
    program = Program(reader)
    program.say(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
    for _ in range(3):
        program.clock.wait(LIMIT_S)
        program.say(b"x")
    program.say(b"x")
    await program.answer()

    assert not program.wire.is_closed


def test_halves_of_heads_are_closed_by_the_proxy(
    server: SealedServer, reader: Callable[..., Any]
) -> None:
    protection = protection_for(server)
    with proxied(server.base_url, protection, http=reader(0.01)) as proxy:
        with contextlib.ExitStack() as stack:
            for half in HALVES * 4:
                address = ("127.0.0.1", proxy.port)
                connection = stack.enter_context(
                    socket.create_connection(address, TIMEOUT_S)
                )
                with contextlib.suppress(ConnectionError):
                    connection.sendall(half)
                    assert connection.recv(1) == b""


def test_health_is_told_beside_them(
    server: SealedServer, reader: Callable[..., Any]
) -> None:
    with proxied(server.base_url, protection_for(server), http=reader()) as proxy:
        with contextlib.ExitStack() as stack:
            for half in HALVES * 4:
                address = ("127.0.0.1", proxy.port)
                connection = stack.enter_context(
                    socket.create_connection(address, TIMEOUT_S)
                )
                connection.sendall(half)
            answer = httpx.get(f"{proxy.url}/-/health", timeout=TIMEOUT_S)

    assert answer.status_code == 200
