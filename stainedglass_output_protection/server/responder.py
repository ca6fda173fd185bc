"""The ASGI side of one protected response: messages in, protected messages out.

It owns all state of its request. ``receive`` passes through here as well as ``send``:
what later protects requests belongs in that place.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Message, Receive, Send

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.protocol.routes import Route
from stainedglass_output_protection.server.protected_response import ProtectedResponse
from stainedglass_output_protection.server.refusals import (
    keys_unavailable,
    refusal,
)
from stainedglass_output_protection.server.response_keys import ResponseKeys

_FIRST_FAILURE = 500


class Responder:
    """Protects what one application call sends.

    ``keys`` is called when an answer begins, ``on_failure`` when that is a 5xx.
    ``has_sent`` tells whether any of the response is on its way.
    """

    __slots__ = (
        "_has_begun",
        "_is_gone",
        "_keys",
        "_on_failure",
        "_receive",
        "_route",
        "_send",
        "_server_key_header",
        "_wants_opaque",
        "_writing",
        "has_sent",
    )

    def __init__(
        self,
        *,
        keys: Callable[[], ResponseKeys],
        route: Route,
        wants_opaque: bool,
        server_key_header: str,
        receive: Receive,
        send: Send,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._keys = keys
        self._on_failure = on_failure
        self._route = route
        self._wants_opaque = wants_opaque
        self._server_key_header = server_key_header
        self._receive = receive
        self._send = send
        self.has_sent = False
        self._has_begun = False
        self._is_gone = False
        # The response, from its start until its end.
        self._writing: ProtectedResponse | None = None

    async def receive(self) -> Message:
        """Give the application its next message."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            # What the application says from now on is not its answer, so it gets no
            # final frame.
            self._is_gone = True
            self._writing = None
        return message

    async def send(self, message: Message) -> None:
        """Take the application's next message."""
        writing = self._writing
        if message["type"] == "http.response.body":
            if writing is None:
                return
            data = writing.push(message.get("body", b""))
            if not message.get("more_body", False):
                await self._end(writing, data)
            elif data:
                await self._send(
                    {"type": "http.response.body", "body": data, "more_body": True}
                )
        elif message["type"] == "http.response.start":
            await self._begin(message)
        # Everything else (pushes, early hints, trailers) could carry content in the
        # clear, and none of it is part of the response: it goes nowhere.

    def restart(self) -> None:
        """Forget a response of which nothing was sent: another one takes its place."""
        self._has_begun = False
        self._writing = None

    async def fail(self) -> None:
        """End a stream whose application raised in the middle of it."""
        response, self._writing = self._writing, None
        if response is not None and response.is_stream:
            await self._send_last(response.fail())

    async def _begin(self, message: Message) -> None:
        if self._has_begun or self._is_gone:
            return
        self._has_begun = True
        if message["status"] >= _FIRST_FAILURE:
            self._on_failure()
            self._on_failure = _nothing
        try:
            keys = self._keys()
        except KeysUnavailableError:
            status, headers, body = refusal(keys_unavailable(), self._route.carrier)
            await self._send_start(status, headers)
            await self._send_last(body)
            return
        response = ProtectedResponse(
            keys=keys,
            route=self._route,
            server_key_header=self._server_key_header,
            status=message["status"],
            headers=list(message.get("headers", ())),
            wants_opaque=self._wants_opaque,
        )
        self._writing = response
        if response.is_stream:
            await self._send_start(response.status, response.headers)

    async def _end(self, response: ProtectedResponse, data: bytes) -> None:
        self._writing = None
        data += response.end()
        if not response.is_stream:
            length = (b"content-length", str(len(data)).encode("ascii"))
            await self._send_start(response.status, [*response.headers, length])
        await self._send_last(data)

    async def _send_start(
        self, status: int, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self.has_sent = True
        await self._send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )

    async def _send_last(self, data: bytes) -> None:
        await self._send(
            {"type": "http.response.body", "body": data, "more_body": False}
        )


def _nothing() -> None:
    """Do nothing."""
