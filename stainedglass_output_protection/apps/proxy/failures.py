"""What a program is told when the proxy cannot answer: in the shape of the API it uses.

The words are ours, and the program's user is who started the proxy.
"""

from __future__ import annotations

import re
import ssl
import traceback
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from stainedglass_output_protection.apps.forwarding import BusyError, StoppedError
from stainedglass_output_protection.apps.http_messages import Headers
from stainedglass_output_protection.errors import (
    OutputProtectionError,
    RequestError,
    UsageError,
)

_ANTHROPIC: Final = "/v1/messages"
_RESPONSES: Final = "/v1/responses"
_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    504: "timeout_error",
}
_encode = msgspec.json.encode


class Failure(NamedTuple):
    """``may_retry`` is false where asking again would only hide what has happened."""

    status: int
    code: str
    message: str
    may_retry: bool = False


class ApiFailures:
    """The failures of a proxy whose transport is of ``library`` (httpx2 or httpx).

    ``proxy_variable`` names the proxy that leads to the server, if one does.
    """

    def __init__(self, library: Any, *, proxy_variable: str | None = None) -> None:
        self._library = library
        self._proxy_variable = proxy_variable

    def describe(self, error: BaseException) -> Failure:
        """Return what a program is told of an error."""
        if isinstance(error, RequestError):
            return Failure(error.status, error.code, str(error))
        if isinstance(error, StoppedError):
            return Failure(503, "proxy_stopped", str(error), may_retry=True)
        if isinstance(error, BusyError):
            return Failure(
                503,
                "proxy_busy",
                f"{error} Ask again later, or start the proxy with a larger "
                "--max-running; where open files are the limit (ulimit -n), allow more.",
                may_retry=True,
            )
        if isinstance(error, UsageError):
            return Failure(400, "request_refused", str(error))
        if isinstance(error, OutputProtectionError):
            return Failure(502, _code_of(error), str(error))
        if isinstance(error, self._library.TimeoutException):
            return Failure(
                504,
                "server_timeout",
                "The server did not answer in time. Ask again, or start the proxy with "
                "a longer --timeout.",
                may_retry=True,
            )
        if isinstance(error, self._library.DecodingError):
            return Failure(
                502,
                "malformed_answer",
                "The answer was damaged on the way: its content-encoding is wrong. Look "
                "for a gateway that compresses or rewrites bodies.",
            )
        if isinstance(error, self._library.TransportError):
            return _of_transport(error, self._proxy_variable)
        return Failure(
            502,
            "proxy_failed",
            f"The proxy itself failed: {type(error).__name__}. Its log says where.",
        )

    def answer(self, error: BaseException, path: str) -> tuple[int, Headers, bytes]:
        """Return status, headers and body of the answer in place of the server's."""
        failure = self.describe(error)
        body = _encode(_body_of(failure, path))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
        ]
        if not failure.may_retry:
            # SDKs would try any 5xx again, and show the last failure only.
            headers.append((b"x-should-retry", b"false"))
        return failure.status, headers, body

    def event(self, error: BaseException, path: str) -> bytes:
        """Return the event by which SDKs raise in the middle of a stream."""
        failure = self.describe(error)
        body = _body_of(failure, path)
        name = b""
        if path.endswith(_ANTHROPIC):
            name = b"event: error\n"
        elif path.startswith(_RESPONSES):
            name = b"event: error\n"
            # An event of the API's type, and with it the member by which SDKs raise.
            body |= {
                "type": "error",
                "code": failure.code,
                "message": failure.message,
                "param": None,
                "sequence_number": 0,
            }
        return name + b"data: " + _encode(body) + b"\n\n"

    def log_line(self, error: BaseException) -> str:
        """Return code and words of an error, and its place if it is a fault of ours."""
        failure = self.describe(error)
        if failure.code != "proxy_failed":
            return f"{failure.code}: {failure.message}"
        # Its own words may hold a prompt.
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no place"
        return f"{failure.code}: {type(error).__name__} at {place}"


def _body_of(failure: Failure, path: str) -> dict[str, Any]:
    is_ours = failure.status >= 500
    kind = "server_error" if is_ours else "invalid_request_error"
    error: dict[str, Any] = {
        "message": failure.message,
        "type": kind,
        "param": None,
        "code": failure.code,
    }
    if _ANTHROPIC not in path:
        return {"error": error}
    fallback = "api_error" if is_ours else "invalid_request_error"
    error["type"] = _ANTHROPIC_TYPES.get(failure.status, fallback)
    return {"type": "error", "error": error}


def _code_of(error: Exception) -> str:
    """Return ``identity_mismatch`` for ``IdentityMismatchError``, and so on."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _of_transport(error: BaseException, proxy_variable: str | None) -> Failure:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", "") or cause.reason or "no reason"
            return Failure(
                502,
                "tls_failed",
                f"There is no trustworthy TLS connection to the server: {reason}. Check "
                "the URL, or give its authority's certificate with --ca-file.",
            )
    words = [it.strerror for it in causes if isinstance(it, OSError) and it.strerror]
    reason = words[-1] if words else type(error).__name__
    advice = "Check that the server runs, and the URL that the proxy was started with."
    if proxy_variable is not None:
        advice = (
            f"The way there leads through the proxy that {proxy_variable} names: check "
            "that one, or unset the variable, or put the server's host into NO_PROXY."
        )
    return Failure(
        502,
        "server_unreachable",
        f"The connection to the server failed: {reason}. {advice}",
        may_retry=True,
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        yield from getattr(error, "exceptions", ())
        error = error.__cause__ or error.__context__
