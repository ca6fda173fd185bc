"""What passes on the wire, seen from below the protected transport.

The protection is the client's own: a ``Recorder`` takes the place of the transport that
speaks HTTP, notes what was asked and what came, and changes nothing.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stainedglass_output_protection.errors import TooLargeError
from stainedglass_output_protection.protocol.encoding import JSON_ERRORS

# The probes ask for a few words. More than this is no answer to one of them.
MAX_SEEN = 4 * 1024 * 1024
_OF_THE_BODY = (b"content-encoding", b"content-length", b"transfer-encoding")


@dataclass
class Seen:
    """One HTTP exchange, as it was on the wire but for a coding of the body.

    Times are seconds of one clock that only runs forward; ``at_ms`` is Unix
    milliseconds. Header names are in lower case.
    """

    method: str
    path: str
    status: int
    headers: list[tuple[str, str]]
    asked_s: float
    at_ms: int
    arrivals: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """What has come of the body."""
        return b"".join(data for _, data in self.arrivals)

    def values(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for key, value in self.headers if key == name]

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        value = next(iter(self.values("content-type")), "")
        return value.partition(";")[0].strip().lower()

    @property
    def error(self) -> Error:
        """The error in the body; one without code and message if there is none."""
        return error_in(self.body)


class Error(msgspec.Struct):
    """What an OpenAI-shaped error says, as far as it has these members."""

    code: Any = None
    message: Any = ""


class _ErrorBody(msgspec.Struct):
    error: Error


def error_in(body: bytes) -> Error:
    """Return the error that a body holds, or one that says nothing."""
    try:
        return msgspec.json.decode(body, type=_ErrorBody).error
    except JSON_ERRORS:
        return Error()


def http_library() -> tuple[Any, Any]:
    """Return the HTTP library that is there, and our binding for it.

    Raises:
        ImportError: there is none.
    """
    for name in ("httpx2", "httpx"):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        where = f"stainedglass_output_protection.client.{name}_binding"
        return library, importlib.import_module(where)
    raise ImportError(
        "This command needs httpx2 or httpx: "
        "pip install '.[cli]' in the checkout of this package"
    )


class Recorder:
    """An async transport that sends through ``client`` and keeps what was ``seen``.

    ``client`` brings the environment's proxies. Of each request it drops the headers
    named in ``without``.
    """

    def __init__(self, library: Any, client: Any, without: Sequence[str] = ()) -> None:
        self._library = library
        self._client = client
        self._without = without
        self._stream = _stream_class(library)
        self.seen: list[Seen] = []

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request, and return its answer with the body decoded."""
        for name in self._without:
            request.headers.pop(name, None)
        asked_s = time.monotonic()
        response = await self._client.send(request, stream=True)
        seen = Seen(
            method=request.method,
            path=request.url.path,
            status=response.status_code,
            headers=[
                (name.decode("latin-1").lower(), value.decode("latin-1"))
                for name, value in response.headers.raw
            ],
            asked_s=asked_s,
            at_ms=int(time.time() * 1000),
        )
        self.seen.append(seen)
        raw = response.headers.raw
        return self._library.Response(
            response.status_code,
            headers=[item for item in raw if item[0].lower() not in _OF_THE_BODY],
            stream=self._stream(response, seen),
        )

    async def aclose(self) -> None:
        """Do nothing: the client outlives this."""


def _stream_class(library: Any) -> Any:
    class Stream(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, response: Any, seen: Seen) -> None:
            self._response = response
            self._seen = seen
            self._room = MAX_SEEN

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for data in self._response.aiter_bytes():
                self._room -= len(data)
                if self._room < 0:
                    raise TooLargeError("The answer to a probe is too large.")
                self._seen.arrivals.append((time.monotonic(), data))
                yield data

        async def aclose(self) -> None:
            await self._response.aclose()

    return Stream
