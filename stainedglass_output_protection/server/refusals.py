"""Answers made before a client key is known: constant words, no echo of input.

Specification: ``protocol.md#errors``. Each call makes a new error: one that is raised
again and again keeps every traceback, and with it every request.
"""

from __future__ import annotations

from stainedglass_output_protection.errors import ClientKeyError, RequestError

Headers = list[tuple[bytes, bytes]]


def route_not_protected() -> RequestError:
    """Return the error for a route that is not in the table."""
    return RequestError(
        "This route is not protected and is refused. Protected are "
        "/v1/chat/completions and /v1/completions.",
        code="route_not_protected",
        status=403,
    )


def keys_unavailable() -> RequestError:
    """Return the error for a server without a usable epoch key."""
    return RequestError(
        "The server has no usable key at the moment. Try again later.",
        code="keys_unavailable",
        status=503,
    )


def client_key_missing() -> ClientKeyError:
    """Return the error for a request without a client key."""
    return ClientKeyError(
        "This route is protected and the request has no client public key header. Use "
        "the protected client, and check that no gateway drops the header.",
        code="client_key_missing",
    )


def client_key_duplicated() -> ClientKeyError:
    """Return the error for a request with more than one client key header."""
    return ClientKeyError(
        "The client public key header occurs more than once.",
        code="client_key_duplicated",
    )


def refusal(error: RequestError) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of the answer to a refused request.

    The words of a ``RequestError`` are constants: none holds what a client sent.
    """
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    body = (
        f'{{"error":{{"message":"{error}","type":"{kind}","param":null,'
        f'"code":"{error.code}"}}}}'
    ).encode("ascii")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
    ]
    if error.status < 500:
        headers.append((b"x-should-retry", b"false"))
    return error.status, headers, body
