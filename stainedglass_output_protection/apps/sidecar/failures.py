"""What a client is told when the engine does not answer: in the shape of its API.

These are answers like the engine's own, so they are sealed on their way out. The words
are coarse; the log has the cause, without a word of a request or an answer.
"""

from __future__ import annotations

import traceback
from typing import Any, Final, NamedTuple

import msgspec

from stainedglass_output_protection.apps.forwarding import BusyError, StoppedError
from stainedglass_output_protection.apps.http_messages import Headers, Send
from stainedglass_output_protection.errors import OutputProtectionError, RequestError

_ANTHROPIC: Final = "/v1/messages"
_encode = msgspec.json.encode


class Failure(NamedTuple):
    """``may_retry`` is false where asking again would not help.

    ``retry_after_s`` is when it might; None says nothing of that.
    """

    status: int
    code: str
    message: str
    may_retry: bool = True
    retry_after_s: int | None = None


_BROKEN_OFF: Final = Failure(
    502, "engine_broke_off", "The engine broke off in the middle of its answer."
)
BUSY: Final = Failure(
    503,
    "sidecar_busy",
    "As many requests are running as may. Ask again in a moment.",
    retry_after_s=1,
)
TOO_SLOW: Final = Failure(
    408, "request_too_slow", "The body of the request did not come in time."
)


class EngineFailures:
    """The failures of a sidecar whose transport is of ``library`` (httpx2 or httpx).

    ``name`` is the engine's address, for the log alone.
    """

    def __init__(self, library: Any, name: str) -> None:
        self._library = library
        self._name = name

    def describe(self, error: BaseException, *, has_begun: bool = False) -> Failure:
        """Return what a client is told of an error; ``has_begun``: the answer had."""
        library = self._library
        if isinstance(error, RequestError):
            return Failure(error.status, error.code, str(error), may_retry=False)
        if isinstance(error, StoppedError):
            return Failure(503, "sidecar_stopped", str(error))
        if isinstance(error, BusyError):
            return BUSY
        if isinstance(error, OutputProtectionError):
            return Failure(502, "engine_answer_malformed", str(error))
        if isinstance(error, (library.ConnectError, library.ConnectTimeout)):
            return Failure(
                502, "engine_unreachable", "The engine behind this server is down."
            )
        if isinstance(error, library.TimeoutException):
            return Failure(
                504,
                "engine_timeout",
                "The engine did not answer in time. Ask again, or have the operator "
                "start the sidecar with a longer --timeout.",
            )
        if has_begun and isinstance(error, library.TransportError):
            return _BROKEN_OFF
        if isinstance(error, library.RemoteProtocolError):
            return Failure(
                502,
                "engine_answer_malformed",
                "The engine closed the connection, or did not answer in HTTP.",
            )
        if isinstance(error, library.TransportError):
            return Failure(
                502, "engine_unreachable", "The connection to the engine failed."
            )
        return Failure(502, "sidecar_failed", "The sidecar failed. Its log says where.")

    def answer(self, error: BaseException, path: str) -> tuple[int, Headers, bytes]:
        """Return status, headers and body of the answer in place of the engine's."""
        return _written(self.describe(error), path)

    def event(self, error: BaseException, path: str) -> bytes:
        """Return nothing: the layer that seals ends a broken stream with its own."""
        return b""

    def words(self, failure: Failure, error: BaseException) -> str:
        """Return code and kind of an error, and its place if it is a fault of ours."""
        if failure is _BROKEN_OFF:
            return f"{failure.code} ({type(error).__name__} in the middle of an answer)"
        if failure.code != "sidecar_failed":
            return f"{failure.code} ({self.cause(error)})"
        # Its own words may hold a prompt or an answer.
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no place"
        return f"{failure.code}: {type(error).__name__} at {place}"

    def cause(self, error: BaseException) -> str:
        """Return what an operator can look for: never words of a request or answer."""
        library = self._library
        if isinstance(error, library.ConnectTimeout):
            return f"{self._name} does not take the connection in time"
        if isinstance(error, library.ConnectError):
            return f"nothing listens at {self._name}, or it cannot be reached"
        if isinstance(error, library.RemoteProtocolError):
            return (
                f"{self._name} closed the connection, or answers, but not in HTTP: "
                "wrong port?"
            )
        return type(error).__name__


async def answer_in_place(failure: Failure, path: str, send: Send) -> None:
    """Answer a request that is not served, in the clear: nothing of it was read.

    The connection ends with it, for what is left of the body is not waited for.
    """
    status, headers, body = _written(failure, path)
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def broken_off(path: str) -> tuple[int, Headers, bytes]:
    """Return the answer in place of one of which only a part came."""
    return _written(_BROKEN_OFF, path)


def _written(failure: Failure, path: str) -> tuple[int, Headers, bytes]:
    is_ours = failure.status >= 500
    kind = "server_error" if is_ours else "invalid_request_error"
    error: dict[str, Any] = {
        "message": failure.message,
        "type": kind,
        "param": None,
        "code": failure.code,
    }
    body: dict[str, Any] = {"error": error}
    if _ANTHROPIC in path:
        error["type"] = "api_error" if is_ours else "invalid_request_error"
        body = {"type": "error", "error": error}
    data = _encode(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(data)).encode("ascii")),
        (b"cache-control", b"no-store"),
    ]
    if failure.retry_after_s is not None:
        headers.append((b"retry-after", str(failure.retry_after_s).encode("ascii")))
    if not failure.may_retry:
        headers.append((b"x-should-retry", b"false"))
    return failure.status, headers, data
