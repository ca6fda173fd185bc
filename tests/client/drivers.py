"""Four ways to ask a server in memory: each library, sync and async."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import httpx2

from stainedglass_output_protection.client import httpx2_binding, httpx_binding
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.protocol.constants import (
    PROFILE_OUTPUT,
    PROFILE_SEALED,
)
from tests.client.fake_server import FakeServer, Received, Wire

LIBRARIES = {"httpx": (httpx, httpx_binding), "httpx2": (httpx2, httpx2_binding)}
CHAT = "/v1/chat/completions"
PROFILES = {"output": PROFILE_OUTPUT, "sealed": PROFILE_SEALED}


def protection_for(fake: FakeServer, **settings: Any) -> Protection:
    """Return the protection of a new client of ``fake``, in the profile of that."""
    profile = PROFILES[fake.profile]
    if profile == PROFILE_SEALED and "trusts_first_use" not in settings:
        settings.setdefault("pins", frozenset({fake.fingerprint}))
    return Protection(ClientSettings(**{"profile": profile, **settings}))


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
    """Sends through a protected transport of ``library``.

    It notes whether the inner streams were closed, apart for those of key documents.
    """

    library: str
    is_async: bool
    closed: list[bool] = field(default_factory=list)
    documents_closed: list[bool] = field(default_factory=list)

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
        **content: Any,
    ) -> Answer:
        """Ask once and read to the end, or to the error.

        ``content`` are arguments of the library's ``Request``, in place of ``asked``.
        """
        if not content:
            content["content"] = json.dumps({"stream": stream, **(asked or {})})
        request = LIBRARIES[self.library][0].Request(
            method, f"http://server.test{path}", headers=headers, **content
        )
        transport = self.transport(fake, protection=protection or protection_for(fake))
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
        kwargs.setdefault("protection", protection_for(fake))
        name = "AsyncProtectedTransport" if self.is_async else "ProtectedTransport"
        return getattr(binding, name)(inner, **kwargs)

    def noted(self, request: Received) -> list[bool]:
        """Return the list in which an answer's end is noted."""
        return self.documents_closed if request.is_for_document else self.closed

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
    url = request.url
    return Received(request.method, url.path, headers, body, url.query.decode())


def _sync_inner(library: Any, fake: FakeServer, driver: Driver) -> Any:
    class Stream(library.SyncByteStream):  # type: ignore[misc]
        def __init__(self, wire: Wire, closed: list[bool]) -> None:
            self._wire = wire
            self._closed = closed
            self._number = len(closed)
            closed.append(False)

        def __iter__(self) -> Iterator[bytes]:
            yield from self._wire.parts

        def close(self) -> None:
            self._closed[self._number] = True

    class Inner(library.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            received = _received(request, request.read())
            wire = fake.wire_of(received)
            stream = Stream(wire, driver.noted(received))
            return library.Response(wire.status, headers=wire.headers, stream=stream)

    return Inner()


def _async_inner(library: Any, fake: FakeServer, driver: Driver) -> Any:
    class Stream(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, wire: Wire, closed: list[bool]) -> None:
            self._wire = wire
            self._closed = closed
            self._number = len(closed)
            closed.append(False)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for part in self._wire.parts:
                await asyncio.sleep(0)
                yield part

        async def aclose(self) -> None:
            self._closed[self._number] = True

    class Inner(library.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            received = _received(request, await request.aread())
            wire = fake.wire_of(received)
            stream = Stream(wire, driver.noted(received))
            return library.Response(wire.status, headers=wire.headers, stream=stream)

    return Inner()


def all_drivers() -> list[Driver]:
    """Return one driver of each kind."""
    return [Driver(name, is_async) for name in LIBRARIES for is_async in (False, True)]
