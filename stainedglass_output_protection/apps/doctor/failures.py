"""Why a server could not be asked: one sentence for each way in which that fails."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator

from stainedglass_output_protection.apps.doctor.words import shown

CLOSED = (
    "The connection was closed, or what came is not HTTP. Check the scheme (https:// for "
    "a port that speaks TLS) and the port of the URL."
)
_TLS_ERRORS = {
    "WRONG_VERSION_NUMBER": "What answers there does not speak TLS. Use http://, or "
    "the port that speaks it.",
    "RECORD_LAYER_FAILURE": "What answers there does not speak TLS. Use http://, or "
    "the port that speaks it.",
}


def failure_of(error: BaseException, timeout_s: float) -> str:
    """Return what went wrong and what to do, for an error of an HTTP library."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"The server's certificate is not trusted ({shown(cause.verify_message)}"
                "). Use the name that the certificate is for, or make its authority "
                "known with SSL_CERT_FILE."
            )
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or "no reason"
            return _TLS_ERRORS.get(
                reason,
                f"TLS failed ({shown(reason)}). Check the scheme and the port of the "
                "URL.",
            )
        if isinstance(cause, socket.gaierror):
            return "The host's name is not known. Check the URL, and the name server."
        if isinstance(cause, ConnectionRefusedError):
            return "Nobody listens at that host and port. Check the URL."
        if isinstance(cause, (asyncio.TimeoutError, TimeoutError)):
            return (
                f"No whole answer came in {timeout_s:g} s. Check the URL, or give a "
                "longer --timeout."
            )
    name = type(error).__name__
    if name in ("RemoteProtocolError", "ReadError", "LocalProtocolError"):
        return CLOSED
    if name == "DecodingError":
        return (
            "The body of an answer has a coding that it does not follow. Look for a "
            "gateway that compresses."
        )
    if name.endswith("Timeout"):
        return failure_of(TimeoutError(), timeout_s)
    return f"The server could not be asked ({shown(name)}). Check the URL."


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        cause = left.pop()
        if cause is None or cause in seen:
            continue
        seen.append(cause)
        yield cause
        left += [cause.__context__, cause.__cause__]
        left += getattr(cause, "exceptions", ())
