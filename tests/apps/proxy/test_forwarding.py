"""What forwarding makes of a program that leaves, and of one that has its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from stainedglass_output_protection.apps.forwarding import Done, Forwarding
from stainedglass_output_protection.apps.proxy.failures import ApiFailures

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/v1/models",
    "raw_path": b"/v1/models",
    "query_string": b"",
    "headers": [],
}


class Body(httpx.AsyncByteStream):
    """An answer's body that takes its time to close, as a busy pool does."""

    def __init__(self) -> None:
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"{}"

    async def aclose(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        self.is_closed = True


class Server(httpx.AsyncBaseTransport):
    """Answers, or waits for ever with ``is_silent``."""

    def __init__(self, body: Body, *, is_silent: bool) -> None:
        self._body = body
        self._is_silent = is_silent

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._is_silent:
            await asyncio.Event().wait()
        return httpx.Response(200, stream=self._body)


async def answered(body: Body, *, is_silent: bool = False, leaves: bool = False) -> Any:
    """Ask as uvicorn does, which says of a complete answer that the program has left."""
    ended = asyncio.Event()
    if leaves:
        ended.set()
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])
    done: list[Done] = []
    sent: list[Any] = []

    async def receive() -> Any:
        for message in asked:
            return message
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"].endswith("body") and not message.get("more_body"):
            ended.set()

    forwarding = Forwarding(
        Server(body, is_silent=is_silent),
        library=httpx,
        base_url="http://server.example",
        failures=ApiFailures(httpx),
        done=done.append,
    )
    await forwarding(SCOPE, receive, send)
    (one,) = done
    return one, sent


async def test_a_complete_answer_is_closed_as_one_and_its_connection_kept() -> None:
    body = Body()

    done, _ = await answered(body)

    assert body.is_closed
    assert (done.status, done.error) == (200, None)


async def test_a_program_that_leaves_gets_nothing_and_is_no_failure() -> None:
    done, sent = await answered(Body(), is_silent=True, leaves=True)

    assert sent == []
    assert (done.status, done.error) == (None, None)


async def test_who_stops_the_proxy_stops_its_requests() -> None:
    task = asyncio.ensure_future(answered(Body(), is_silent=True))
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
