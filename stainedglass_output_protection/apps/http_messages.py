"""The two messages of one exchange as an ASGI server has them: a request, an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from stainedglass_output_protection.errors import OutputProtectionError, RequestError

Headers = list[tuple[bytes, bytes]]
Message = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_HOP_BY_HOP: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
# Whoever names these in ``Connection`` must not make them vanish.
_KEPT: Final = frozenset(
    {b"authorization", b"content-encoding", b"content-type", b"x-output-protection"}
)
_EVENTS: Final = b"text/event-stream"
_STATUSES: Final = range(200, 600)


class GoneError(Exception):
    """The program has left."""


async def whole_request(scope: Any, receive: Receive, limit: int) -> bytes:
    """Return the body of a request.

    Raises:
        RequestError: it is larger than ``limit`` bytes.
        GoneError: the program has left.
    """
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    parts: list[bytes] = []
    room = limit
    # Refused before any of it is read; what has come is counted all the same.
    while room >= 0 and int(declared) <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        part = message.get("body", b"")
        parts.append(part)
        room -= len(part)
        if room >= 0 and not message.get("more_body"):
            return b"".join(parts)
    raise RequestError(
        f"The request is larger than {limit} bytes, which is the limit here.",
        code="request_too_large",
        status=413,
    )


def is_ambiguous(path: bytes) -> bool:
    """Tell whether somebody on the way might read a path as another one."""
    lower = path.lower().replace(b"%2e", b".")
    odd = (b"//", b"\\", b"%2f", b"%5c", b"%00")
    return any(it in lower for it in odd) or any(
        part in (b".", b"..") for part in lower.split(b"/")
    )


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers that are not for one connection only, names in lower case."""
    lower = [(name.lower(), value) for name, value in headers]
    named = {
        word.strip().lower()
        for name, value in lower
        if name == b"connection"
        for word in value.split(b",")
    }
    dropped = _HOP_BY_HOP | (named - _KEPT)
    return [item for item in lower if item[0] not in dropped]


class Answer:
    """What has been sent of one answer. ``status`` is None before anything was.

    Of what is no stream of events, the first piece waits for the next one or the end:
    a failure right behind it can then be told in place of it.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message = None
        self._held = b""
        self.status: int | None = None
        self.mark = ""
        self.has_events = False
        self.is_ended = False

    async def begin(
        self, status: int, raw_headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Take the head, less what is for one connection only, in place of any other.

        Raises:
            OutputProtectionError: it is none that may be passed on.
        """
        if status not in _STATUSES:
            raise OutputProtectionError("The server's answer has no status of HTTP's.")
        headers = end_to_end(raw_headers)
        shown = dict(headers)
        self.mark = shown.get(b"x-output-protection", b"").decode("ascii", "replace")
        self.has_events = shown.get(b"content-type", b"").lower().startswith(_EVENTS)
        self._held = b""
        self._head = {
            "type": "http.response.start",
            "status": status,
            "headers": headers,
        }
        if self.has_events:
            await self._send_head()

    async def add(self, chunk: bytes) -> None:
        """Send a part of the body, which is not empty, at once, or hold the first."""
        if self.status is None and not self._held:
            self._held = chunk
            return
        await self._send_head()
        await self._send_body(chunk)

    async def end(self) -> None:
        """Send the end: the answer is complete."""
        await self._send_head()
        self.is_ended = True
        await self._send({"type": "http.response.body", "body": b""})

    async def _send_head(self) -> None:
        if self.status is None:
            self.status = self._head["status"]
            await self._send(self._head)
            if self._held:
                await self._send_body(self._held)

    async def _send_body(self, chunk: bytes) -> None:
        await self._send(
            {"type": "http.response.body", "body": chunk, "more_body": True}
        )
