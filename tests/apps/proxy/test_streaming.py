"""How streams flow: event by event, as fast as they are read, and never on without a reader."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from stainedglass_output_protection.server.middleware import ProtectionMiddleware
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.replay_store import ReplayStore
from tests.apps.proxy.apis import ASKED, CHAT
from tests.apps.proxy.commands import started
from tests.apps.proxy.running import Running, proxied, served_app
from tests.client.drivers import protection_for
from tests.client.fake_server import DONE, EVENTS, chat_event
from tests.client.sealed_server import Application, SealedServer, ring_since

LIMIT_S = 60
BODY = {**ASKED, "stream": True}


class Stepping:
    """A protected application that sends one event for each ``step``.

    ``left`` is set when the one who asked has left.
    """

    def __init__(self, text: str = "word") -> None:
        self._steps = threading.Semaphore(0)
        self._text = text
        self.left = threading.Event()
        self.asked = threading.Event()
        self.sent = 0
        self.ring = ring_since()
        self.routes = Application().routes
        store = ReplayStore(None)
        self.app = ProtectionMiddleware(
            self, Options(), ring_of=lambda scope: self.ring, replay_store=lambda: store
        )

    def step(self, count: int = 1) -> None:
        self._steps.release(count)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        total = json.loads(scope["headers"] and dict(scope["headers"]).get(b"x", b"3"))
        gone = asyncio.ensure_future(receive())
        self.asked.set()
        for number in range(total + 1):
            step = asyncio.ensure_future(asyncio.to_thread(self._steps.acquire))
            await asyncio.wait((step, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                self._steps.release()
                self.left.set()
                return
            if not number:
                headers = [(b"content-type", EVENTS.encode())]
                await send(
                    {"type": "http.response.start", "status": 200, "headers": headers}
                )
            part = chat_event(self._text) if number < total else DONE
            more = number < total
            # Before it is sent: who receives it may look at once.
            self.sent += 1
            await send({"type": "http.response.body", "body": part, "more_body": more})
        gone.cancel()


@pytest.fixture
def stepping() -> Iterator[Stepping]:
    made = Stepping()
    yield made
    made.step(1000)


@pytest.fixture
def upstream(stepping: Stepping) -> Iterator[str]:
    with served_app(stepping.app) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def proxy(upstream: str, stepping: Stepping) -> Iterator[Running]:
    with proxied(upstream, protection_for(pinned(stepping))) as running:
        yield running


def pinned(stepping: Stepping) -> SealedServer:
    """Return what ``protection_for`` takes the pin from."""
    return SealedServer(ring=stepping.ring)


def asking(proxy: Running) -> Any:
    return httpx.stream("POST", f"{proxy.url}{CHAT}", json=BODY, timeout=LIMIT_S)


def test_each_event_arrives_before_the_next_is_made(
    stepping: Stepping, proxy: Running
) -> None:
    stepping.step()
    with asking(proxy) as answer:
        received = b""
        for chunk in answer.iter_raw():
            received += chunk
            if received.endswith(b"\n\n"):
                assert received.count(b"\n\n") <= stepping.sent
                stepping.step()

    assert received == chat_event("word") * 3 + DONE


def test_a_program_that_leaves_in_the_middle_ends_the_generation(
    stepping: Stepping, proxy: Running
) -> None:
    stepping.step()
    with asking(proxy) as answer:
        next(answer.iter_raw())

    assert stepping.left.wait(LIMIT_S)


def test_a_program_that_leaves_before_the_answer_ends_the_generation(
    stepping: Stepping, proxy: Running
) -> None:
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    )
    body = json.dumps(BODY)
    with socket.create_connection(("127.0.0.1", proxy.port)) as program:
        program.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert stepping.asked.wait(LIMIT_S)

    assert stepping.left.wait(LIMIT_S)


def test_the_next_request_is_served_after_one_has_left(
    stepping: Stepping, proxy: Running
) -> None:
    stepping.step()
    with asking(proxy) as answer:
        next(answer.iter_raw())
    assert stepping.left.wait(LIMIT_S)
    stepping.step(4)

    again = httpx.post(f"{proxy.url}{CHAT}", json=BODY, timeout=LIMIT_S)

    assert again.content.endswith(DONE)


def test_a_connection_that_is_cut_behind_the_proxy_is_no_end(
    stepping: Stepping,
) -> None:
    async def cutting(scope: Any, receive: Any, send: Any) -> None:
        left = 2

        async def send_a_little(message: Any) -> None:
            nonlocal left
            left -= message["type"] == "http.response.body"
            if left >= 0 or scope["path"] != CHAT:
                await send(message)

        await stepping.app(scope, receive, send_a_little)

    stepping.step(4)
    parts: list[bytes] = []
    with served_app(cutting) as port:
        url = f"http://127.0.0.1:{port}"
        with proxied(url, protection_for(pinned(stepping))) as proxy:
            with asking(proxy) as answer, pytest.raises(httpx.RemoteProtocolError):
                parts.extend(answer.iter_raw())

    received = b"".join(parts)
    assert received.startswith(chat_event("word") * 2)
    assert b'"code":"truncated"' in received
    assert b"[DONE]" not in received


def test_what_a_slow_program_does_not_read_is_not_taken_from_the_server() -> None:
    events, size = 1024, 64 * 1024
    stepping = Stepping("x" * size)
    stepping.step(events)
    with served_app(stepping.app) as port:
        url = f"http://127.0.0.1:{port}"
        with proxied(url, protection_for(pinned(stepping))) as proxy:
            asks = httpx.Request(
                "POST", f"{proxy.url}{CHAT}", json=BODY, headers={"x": str(events)}
            )
            with httpx.Client(timeout=LIMIT_S) as client:
                answer = client.send(asks, stream=True)
                last = -1
                while last != stepping.sent and stepping.sent < events:
                    last = stepping.sent
                    time.sleep(1)
                answer.close()
    # The buffers of three pairs of sockets are a few MiB at most.
    assert stepping.sent < events / 2


def _stopped(
    upstream: str, stepping: Stepping, grace_s: int, then: Callable[[], None]
) -> tuple[bytes, BaseException | None, int]:
    received = b""
    failure = None
    options = ("--identity", stepping.ring.identity.fingerprint)
    with started(upstream, *options, "--grace", str(grace_s)) as proxy:
        stepping.step()
        with asking(proxy) as answer:
            chunks = answer.iter_raw()
            received += next(chunks)
            proxy.stop()
            _wait_until_refused(proxy)
            then()
            try:
                received += b"".join(chunks)
            except httpx.TransportError as error:
                failure = error
        status, _ = proxy.ended()
    return received, failure, status


def _wait_until_refused(proxy: Running) -> None:
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", proxy.port)).close()
        except ConnectionError:
            return
    raise AssertionError("the proxy still takes connections")


def test_an_answer_that_ends_in_the_time_of_grace_is_whole(
    upstream: str, stepping: Stepping
) -> None:
    received, failure, status = _stopped(
        upstream, stepping, LIMIT_S, lambda: stepping.step(3)
    )

    assert received == chat_event("word") * 3 + DONE
    assert failure is None
    assert status == 0


def test_an_answer_that_does_not_is_cut_so_that_it_shows(
    upstream: str, stepping: Stepping
) -> None:
    received: list[bytes] = []
    options = ("--identity", stepping.ring.identity.fingerprint, "--grace", "0")
    with started(upstream, *options) as proxy:
        stepping.step()
        with asking(proxy) as answer:
            chunks = answer.iter_raw()
            received.append(next(chunks))
            proxy.stop()
            with pytest.raises(httpx.RemoteProtocolError):
                received.extend(chunks)
        status, _ = proxy.ended()

    whole = b"".join(received)
    assert b'"code":"proxy_stopped"' in whole
    assert b"[DONE]" not in whole
    assert status == 0
    assert stepping.left.wait(LIMIT_S)
