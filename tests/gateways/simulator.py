"""A gateway on a port of its own, in front of another port, with faults by name.

::

    from tests.gateways.simulator import FAULTS, Gateway

    with Gateway(upstream_port, "drops_request_headers", "reserialises_json") as gateway:
        client = OpenAI(base_url=gateway.base_url, http_client=protected_client(...))
        gateway.use("truncates_with_done")    # other faults, from now on; none: clean
    FAULTS["drops_request_headers"].says                  # one line for people
    FAULTS["drops_request_headers"].is_benign("sealed")   # or "output"
    FAULTS["drops_events"].outcome("sealed", "stream")    # "SequenceError"

The first fault is the nearest to the client. A stream is passed on event by event,
unless a fault says otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any

import httpx

from tests.client.fake_server import Received, error_body
from tests.gateways.fault import Fault
from tests.gateways.faults import FAULTS
from tests.gateways.serving import on_a_port
from tests.gateways.traffic import Act, Answer, Asked, both, pieces

__all__ = ["FAULTS", "Fault", "Gateway"]

# Of one connection, or wrong as soon as a body is changed.
_OF_THE_HOP = frozenset(
    {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
)


class Gateway:
    """A reverse proxy with faults; a context manager, which serves inside the block.

    ``other_port`` is a second server, for the faults that speak of one. ``received``
    are the requests as they came, ``forwarded`` as they went on.
    """

    def __init__(
        self, upstream_port: int, *faults: str, other_port: int | None = None
    ) -> None:
        self._upstream = upstream_port
        self._other = upstream_port if other_port is None else other_port
        self._stack = ExitStack()
        self._transport: httpx.AsyncHTTPTransport | None = None
        self.received: list[Received] = []
        self.forwarded: list[Received] = []
        self.port = 0
        self.use(*faults)

    def use(self, *faults: str) -> None:
        """Have these faults from now on, as if they had just begun."""
        self.use_acts(*(FAULTS[name].make() for name in faults))

    def use_acts(self, *acts: Act) -> None:
        """Do these acts from now on."""
        self._act = both(*acts)

    @property
    def base_url(self) -> str:
        """What an SDK is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Gateway:
        self.port = self._stack.enter_context(on_a_port(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve as an ASGI application."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        asked = await _read(scope, receive)
        self.received.append(replace(asked))
        answer = await self._act(asked, self._forward)
        head = [(name.encode(), value.encode()) for name, value in answer.headers]
        start = {"status": answer.status, "headers": head}
        await send({"type": "http.response.start", **start})
        async for piece in answer.body:
            message = {"type": "http.response.body", "body": piece, "more_body": True}
            await send(message)
        await send({"type": "http.response.body", "body": b""})

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        async with httpx.AsyncHTTPTransport(retries=1) as self._transport:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _forward(self, asked: Asked) -> Answer:
        self.forwarded.append(replace(asked))
        port = self._other if asked.goes_elsewhere else self._upstream
        query = f"?{asked.query}" if asked.query else ""
        request = httpx.Request(
            asked.method,
            f"http://127.0.0.1:{port}{asked.path}{query}",
            headers=[item for item in asked.headers if item[0] not in _OF_THE_HOP],
            content=asked.body,
        )
        assert self._transport is not None
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError:
            body = error_body("The upstream does not answer.", 502)
            return Answer(502, [("content-type", "application/json")], pieces(body))
        headers = [
            (name.lower(), value)
            for name, value in response.headers.multi_items()
            if name.lower() not in _OF_THE_HOP
        ]
        return Answer(response.status_code, headers, _body_of(response))


async def _read(scope: Any, receive: Any) -> Asked:
    body = b""
    has_more = True
    while has_more:
        message = await receive()
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    path = scope["raw_path"].decode()
    query = scope["query_string"].decode()
    return Asked(scope["method"], path, headers, body, query)


async def _body_of(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in response.aiter_raw():
            yield piece
    finally:
        await response.aclose()
