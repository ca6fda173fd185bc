"""The ASGI side of one protected response: messages in, protected messages out.

It owns all state of its request. ``receive`` passes through here as well as ``send``:
what later protects requests belongs in that place.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from starlette.types import Message, Receive, Send

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.protocol.constants import PROFILE_SEALED
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
    ``has_sent`` tells whether any of the response is on its way. The other public
    members are for who watches: an ``observation.Answer``.
    """

    __slots__ = (
        "_feed",
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
        "bytes_sent",
        "has_failed",
        "has_sent",
        "is_stream",
        "is_whole",
        "key_id",
        "lacks_keys",
        "profile",
        "seal_s",
        "status",
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
        self.status = 0
        self.is_stream = False
        self.is_whole = False
        self.has_failed = False
        self.lacks_keys = False
        self.bytes_sent = 0
        self.seal_s: float | None = None
        self.key_id = ""
        self.profile = ""
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
                self.bytes_sent += len(data)
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
        # What raises because nobody is there has not failed.
        self.has_failed = not self._is_gone
        if response is not None and response.is_stream:
            await self._send_last(response.fail())

    def end_of_call(self) -> None:
        """Take note that the application has returned: it says nothing any more."""
        if not self.is_whole and not self._is_gone:
            self.has_failed = True

    async def _begin(self, message: Message) -> None:
        if self._has_begun or self._is_gone:
            return
        self._has_begun = True
        if message["status"] >= _FIRST_FAILURE:
            self._on_failure()
            self._on_failure = _nothing
        began = perf_counter()
        try:
            keys = self._keys()
        except KeysUnavailableError:
            self.lacks_keys = True
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
        self.seal_s = perf_counter() - began
        self.key_id = keys.key_id
        self.profile = "sealed" if keys.profile == PROFILE_SEALED else "output"
        self.is_stream = response.is_stream
        self._writing = response
        if response.is_stream:
            self._feed = response.push
            response.push = self._push_first
            await self._send_start(response.status, response.headers)

    def _push_first(self, data: bytes) -> bytes:
        """Time the first sealed bytes; what follows goes straight to the writer."""
        began = perf_counter()
        wire = self._feed(data)
        self._add_seal_time(began)
        if wire and self._writing is not None:
            self._writing.push = self._feed
        return wire

    def _add_seal_time(self, began: float) -> None:
        self.seal_s = (self.seal_s or 0.0) + perf_counter() - began

    async def _end(self, response: ProtectedResponse, data: bytes) -> None:
        self._writing = None
        self.is_whole = True
        began = perf_counter()
        data += response.end()
        if not response.is_stream:
            self._add_seal_time(began)
            length = (b"content-length", str(len(data)).encode("ascii"))
            await self._send_start(response.status, [*response.headers, length])
        await self._send_last(data)

    async def _send_start(
        self, status: int, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self.has_sent = True
        self.status = status
        await self._send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )

    async def _send_last(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        await self._send(
            {"type": "http.response.body", "body": data, "more_body": False}
        )


def _nothing() -> None:
    """Do nothing."""
