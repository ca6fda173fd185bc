"""Answers made before a client key is known: constant words, no echo of input.

Specification: ``protocol.md#errors``. Each call makes a new error: one that is raised
again and again keeps every traceback, and with it every request.
"""

from __future__ import annotations

from stainedglass_output_protection.errors import ClientKeyError, RequestError

Headers = list[tuple[bytes, bytes]]

_ANTHROPIC = ("messages", "count")


def route_not_protected() -> RequestError:
    """Return the error for a route that is not in the table."""
    return RequestError(
        "This route is not protected: the table of routes does not have it, or not with "
        "this method, so it is refused. The operator may add it, sealed, with "
        "SG_PROTECTED_ROUTES, or in the clear with SG_CLEAR_ROUTES.",
        code="route_not_protected",
        status=403,
    )


def keys_unavailable() -> RequestError:
    """Return the error for a server without a usable epoch key."""
    return RequestError(
        "The server has no usable key, or cannot record requests, at the moment. Try "
        "again later.",
        code="keys_unavailable",
        status=503,
    )


def client_key_missing() -> ClientKeyError:
    """Return the error for a request without a client key."""
    return ClientKeyError(
        "This route is protected and the request has no client public key, in a header "
        "or in its body. Use the protected client.",
        code="client_key_missing",
    )


def stored_response_refused() -> RequestError:
    """Return the error for a response that would be, or is, kept by the server."""
    return RequestError(
        "Stored and background responses are refused: whoever sees the id of one could "
        "fetch it with a key of his own. Send store: false, without background and "
        "previous_response_id. The operator may allow this leak: "
        "SG_ALLOW_LEAKS=stored-responses.",
        code="stored_response_refused",
        status=403,
    )


def method_not_allowed() -> RequestError:
    """Return the error for a route of ours, asked for with another method than GET."""
    return RequestError(
        "This route is fetched with GET.", code="method_not_allowed", status=405
    )


def response_not_found() -> RequestError:
    """Return the error for a stored response that is not the owner's, or not there."""
    return RequestError(
        "There is no such response for this owner.",
        code="response_not_found",
        status=404,
    )


def sealed_request_malformed() -> RequestError:
    """Return the error for a sealed request that cannot be opened."""
    return RequestError(
        "The sealed request is malformed, or was not sealed to this server's key in a "
        "suite that it knows. Something on the way may have changed it: look for a "
        "gateway that rewrites request bodies.",
        code="sealed_request_malformed",
    )


def sealed_request_mismatch() -> RequestError:
    """Return the error for a request that says something else outside than inside."""
    return RequestError(
        "The request's method, URL, model or stream is not what was sealed. Something "
        "on the way changed it. Let it pass them on as they are, and ask for the model "
        "by the server's own name; profile output lets gateways change them.",
        code="sealed_request_mismatch",
    )


def sealed_request_required() -> RequestError:
    """Return the error for a request that is not sealed where all have to be."""
    return RequestError(
        "This server takes sealed requests only. Use the protected client in profile "
        "sealed.",
        code="sealed_request_required",
    )


def request_too_large() -> RequestError:
    """Return the error for a sealed request above the limit."""
    return RequestError(
        "The sealed request is larger than this server accepts. The operator may raise "
        "SG_MAX_SEALED_REQUEST_BYTES.",
        code="request_too_large",
        status=413,
    )


def body_too_large() -> RequestError:
    """Return the error for a request whose body is longer than any may be."""
    return RequestError(
        "The request is larger than this server accepts. Send less; the operator may "
        "raise the limit.",
        code="request_too_large",
        status=413,
    )


def key_unknown(document_text: str) -> RequestError:
    """Return the error for a request sealed to no live epoch; it brings the document."""
    return RequestError(
        "The request is not sealed to a key that this server still has. A client seals "
        "again by itself, once: if you see this, the servers behind this address do not "
        "share their keys, and the operator has to give all of them the same "
        "SG_IDENTITY_KEY_FILE and SG_FLEET_SECRET_FILE. Seal it to this key document "
        # The code once more: gateways put their own in its place.
        f"(key_unknown): {document_text}",
        code="key_unknown",
        status=422,
    )


def client_key_duplicated() -> ClientKeyError:
    """Return the error for a request with more than one client key."""
    return ClientKeyError(
        "The client public key occurs more than once, or header and body differ. Send "
        "one; if the client did, look for a gateway that repeats or changes it.",
        code="client_key_duplicated",
    )


def refusal(error: RequestError, carrier: str = "") -> tuple[int, Headers, bytes]:
    """Return status, headers and body of the answer to a refused request.

    ``carrier`` is the route's. The words of a ``RequestError`` are constants: none
    holds what a client sent.
    """
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    shape = '"type":"error",' if carrier in _ANTHROPIC else ""
    body = (
        f'{{{shape}"error":{{"message":"{error}","type":"{kind}","param":null,'
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
