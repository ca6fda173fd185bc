"""Why a server could not be asked: one sentence for each way in which that fails."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from stainedglass_output_protection.apps.chat.plain_text import plain_text
from stainedglass_output_protection.apps.connection_variables import proxy_variable_of

_CLOSED: Final = (
    "The connection was closed, or what came is not HTTP. Check the scheme (https:// for "
    "a port that speaks TLS) and the port of the URL."
)
_NO_TLS: Final = (
    "What answers there does not speak TLS. Check whether the URL begins with http:// or "
    "https://, and its port."
)
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
# Names of errors of the HTTP libraries, which need not be installed.
_BROKEN: Final = ("RemoteProtocolError", "ReadError", "LocalProtocolError")


def why_unreachable(error: BaseException, url: str) -> str:
    """Return what went wrong and what to do, for an error of an HTTP library.

    ``url`` is what was asked; where a proxy of the environment leads there, the
    variable that names it is said. No words of the other side are in it.
    """
    variable = proxy_variable_of(url)
    for cause in causes_of(error):
        reason = _reason_of_tls(cause) or _reason_of_connecting(cause, variable)
        if reason:
            return reason
    name = type(error).__name__
    if name == "ProxyError":
        return _of_the_proxy("refused to connect", variable or "a variable")
    if name in _BROKEN or isinstance(
        error, ConnectionError | http.client.HTTPException
    ):
        return _CLOSED + _hint(variable)
    return f"The server could not be asked ({name}). Check the URL.{_hint(variable)}"


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it was raised from, the nearest first."""
    seen: list[BaseException] = []
    left: list[object] = [error]
    while left:
        cause = left.pop()
        if not isinstance(cause, BaseException) or cause in seen:
            continue
        seen.append(cause)
        yield cause
        left += [cause.__context__, cause.__cause__, getattr(cause, "reason", None)]
        left += getattr(cause, "exceptions", ())


def _reason_of_tls(cause: BaseException) -> str | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"The server's certificate is not trusted ({plain_text(cause.verify_message)}"
            "). Use the name that the certificate is for, or make its authority known "
            "with SSL_CERT_FILE."
        )
    if isinstance(cause, ssl.SSLError):
        reason = cause.reason or "no reason"
        if reason in _NOT_TLS:
            return _NO_TLS
        return (
            f"TLS failed ({plain_text(reason)}). Check the scheme and the port of the "
            "URL."
        )
    return None


def _reason_of_connecting(cause: BaseException, variable: str | None) -> str | None:
    if isinstance(cause, socket.gaierror):
        if variable:
            return _of_the_proxy("has a host whose name is not known", variable)
        return "The host's name is not known. Check the URL, and the name server."
    if isinstance(cause, ConnectionRefusedError):
        if variable:
            return _of_the_proxy("is not there: nobody listens", variable)
        return "Nobody listens at that host and port. Check the URL."
    if isinstance(cause, TimeoutError) or type(cause).__name__.endswith("Timeout"):
        return (
            "The server did not answer in time. Check the URL, or ask again."
            f"{_hint(variable)}"
        )
    # The standard library has no class for this one.
    if type(cause) is OSError and str(cause).startswith("Tunnel connection failed"):
        return _of_the_proxy("refused to connect", variable or "a variable")
    return None


def _of_the_proxy(fault: str, variable: str) -> str:
    return (
        f"The proxy that {variable} names {fault}. Correct the variable, or unset it, or "
        "put the server's host into NO_PROXY."
    )


def _hint(variable: str | None) -> str:
    if variable is None:
        return ""
    return f" The way there leads through the proxy that {variable} names."
