"""Four ways to ask the fake server in memory: each library, sync and async."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import httpx2

from stainedglass_output_protection.client import httpx2_binding, httpx_binding
from stainedglass_output_protection.client.exchange import Protection
from tests.client.fake_server import FakeServer, Received, Wire

LIBRARIES = {"httpx": (httpx, httpx_binding), "httpx2": (httpx2, httpx2_binding)}
CHAT = "/v1/chat/completions"


@dataclass
class Answer:
    """What a caller saw: ``body`` is what was released before ``error`` if any."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    extensions: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    error: Exception | None = None


@dataclass
class Driver:
    """Sends through a protected transport of ``library``, and keeps the inner streams."""

    library: str
    is_async: bool
    closed: list[bool] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.library}-{'async' if self.is_async else 'sync'}"

    def ask(
        self,
        fake: FakeServer,
        *,
        stream: bool = False,
        method: str = "POST",
        path: str = CHAT,
        headers: dict[str, str] | None = None,
        asked: dict[str, Any] | None = None,
        protection: Protection | None = None,
        defer_errors: bool = False,
    ) -> Answer:
        """Ask once and read to the end, or to the error."""
        request = LIBRARIES[self.library][0].Request(
            method,
            f"http://server.test{path}",
            headers=headers,
            content=json.dumps({"stream": stream, **(asked or {})}),
        )
        transport = self.transport(
            fake, protection=protection, defer_errors=defer_errors
        )
        answer = Answer()
        try:
            if self.is_async:
                asyncio.run(self._ask_async(transport, request, answer))
            else:
                self._ask_sync(transport, request, answer)
        except Exception as error:
            answer.error = error
        return answer

    def transport(self, fake: FakeServer, **kwargs: Any) -> Any:
        library, binding = LIBRARIES[self.library]
        inner = (_async_inner if self.is_async else _sync_inner)(library, fake, self)
        name = "AsyncProtectedTransport" if self.is_async else "ProtectedTransport"
        return getattr(binding, name)(inner, **kwargs)

    def _ask_sync(self, transport: Any, request: Any, answer: Answer) -> None:
        with LIBRARIES[self.library][0].Client(transport=transport) as client:
            response = _noted(client.send(request, stream=True), answer)
            try:
                for chunk in response.iter_bytes():
                    answer.chunks.append(chunk)
                    answer.body += chunk
            finally:
                response.close()

    async def _ask_async(self, transport: Any, request: Any, answer: Answer) -> None:
        async with LIBRARIES[self.library][0].AsyncClient(
            transport=transport
        ) as client:
            response = _noted(await client.send(request, stream=True), answer)
            try:
                async for chunk in response.aiter_bytes():
                    answer.chunks.append(chunk)
                    answer.body += chunk
            finally:
                await response.aclose()


def _noted(response: Any, answer: Answer) -> Any:
    answer.status = response.status_code
    answer.headers = dict(response.headers)
    answer.extensions = response.extensions
    return response


def _received(request: Any, body: bytes) -> Received:
    headers = [(k.lower(), v) for k, v in request.headers.multi_items()]
    return Received(request.method, request.url.path, headers, body)


def _sync_inner(library: Any, fake: FakeServer, driver: Driver) -> Any:
    class Stream(library.SyncByteStream):  # type: ignore[misc]
        def __init__(self, wire: Wire) -> None:
            self._wire = wire
            driver.closed.append(False)
            self._number = len(driver.closed) - 1

        def __iter__(self) -> Iterator[bytes]:
            yield from self._wire.parts

        def close(self) -> None:
            driver.closed[self._number] = True

    class Inner(library.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            wire = fake.wire_of(_received(request, request.read()))
            return library.Response(
                wire.status, headers=wire.headers, stream=Stream(wire)
            )

    return Inner()


def _async_inner(library: Any, fake: FakeServer, driver: Driver) -> Any:
    class Stream(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, wire: Wire) -> None:
            self._wire = wire
            driver.closed.append(False)
            self._number = len(driver.closed) - 1

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for part in self._wire.parts:
                await asyncio.sleep(0)
                yield part

        async def aclose(self) -> None:
            driver.closed[self._number] = True

    class Inner(library.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            wire = fake.wire_of(_received(request, await request.aread()))
            return library.Response(
                wire.status, headers=wire.headers, stream=Stream(wire)
            )

    return Inner()


def all_drivers() -> list[Driver]:
    """Return one driver of each kind."""
    return [Driver(name, is_async) for name in LIBRARIES for is_async in (False, True)]
