"""What a client is told when the engine does not answer: in the shape of its API.

These are answers like the engine's own, so they are sealed on their way out. The words
are coarse; the log has the cause, without a word of a request or an answer.
"""

from __future__ import annotations

import traceback
from typing import Any, Final, NamedTuple

import msgspec

from stainedglass_output_protection.apps.forwarding import StoppedError
from stainedglass_output_protection.apps.http_messages import Headers
from stainedglass_output_protection.errors import OutputProtectionError, RequestError

_ANTHROPIC: Final = "/v1/messages"
_encode = msgspec.json.encode


class Failure(NamedTuple):
    """``may_retry`` is false where asking again would not help."""

    status: int
    code: str
    message: str
    may_retry: bool = True


_BROKEN_OFF: Final = Failure(
    502, "engine_broke_off", "The engine broke off in the middle of its answer."
)


class EngineFailures:
    """The failures of a sidecar whose transport is of ``library`` (httpx2 or httpx)."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def describe(self, error: BaseException) -> Failure:
        """Return what a client is told of an error."""
        library = self._library
        if isinstance(error, RequestError):
            return Failure(error.status, error.code, str(error), may_retry=False)
        if isinstance(error, StoppedError):
            return Failure(503, "sidecar_stopped", str(error))
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

    def log_line(self, error: BaseException) -> str:
        """Return code and kind of an error, and its place if it is a fault of ours."""
        failure = self.describe(error)
        if failure.code != "sidecar_failed":
            return f"{failure.code} ({type(error).__name__})"
        # Its own words may hold a prompt or an answer.
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no place"
        return f"{failure.code}: {type(error).__name__} at {place}"


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
    if not failure.may_retry:
        headers.append((b"x-should-retry", b"false"))
    return failure.status, headers, data
