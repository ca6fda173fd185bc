"""What the forwarding core keeps of a request that failed: nothing."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from stainedglass_output_protection.apps.forwarding import Done, Forwarding
from stainedglass_output_protection.apps.proxy.failures import ApiFailures
from stainedglass_output_protection.errors import UnprotectedResponseError

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/chat/completions",
    "raw_path": b"/v1/chat/completions",
    "query_string": b"",
    "headers": [(b"content-length", b"2")],
}


class Words:
    """Stands for an answer's words, and can be watched."""


class Failing(httpx2.AsyncBaseTransport):
    """Reads words, and fails while it has them in its hands."""

    def __init__(self) -> None:
        self.read: list[weakref.ref[Words]] = []

    async def handle_async_request(self, request: Any) -> Any:
        words = Words()
        self.read.append(weakref.ref(words))
        raise UnprotectedResponseError("refused")


@pytest.fixture
def _without_collector() -> Iterator[None]:
    """Only what is not held any more goes; the collector would hide a circle."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_without_collector")
def test_what_was_read_goes_with_the_request_that_failed() -> None:
    transport = Failing()
    ended: list[type[BaseException] | None] = []

    def done(it: Done) -> None:
        ended.append(None if it.error is None else type(it.error))

    async def ask() -> None:
        app = Forwarding(
            transport,
            library=httpx2,
            base_url="http://server.test",
            failures=ApiFailures(httpx2),
            done=done,
        )
        asked = [{"type": "http.request", "body": b"{}", "more_body": False}]

        async def receive() -> Any:
            if asked:
                return asked.pop()
            return await asyncio.Future()

        async def send(message: Any) -> None:
            pass

        await app(SCOPE, receive, send)

    asyncio.run(ask())
    assert ended == [UnprotectedResponseError]
    assert [watched() for watched in transport.read] == [None]
