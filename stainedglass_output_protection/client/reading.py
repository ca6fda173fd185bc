"""What the drivers read of requests and answers, whichever library made them."""

from __future__ import annotations

from typing import Any

from stainedglass_output_protection.client.bodies import HeldBytes
from stainedglass_output_protection.client.request import Request

# A digest or a signature of the body: nothing may be added to it any more.
_OVER_THE_BODY = (
    "content-digest",
    "digest",
    "content-md5",
    "signature",
    "x-amz-content-sha256",
)


def _body_in_memory(request: Any) -> bytes:
    """Return a request's body; nothing if it is a stream that was not read."""
    try:
        return bytes(request.content)
    except RuntimeError:
        return b""


def asked_of(request: Any) -> Request:
    """Return a library's request as the exchange sees it."""
    url = request.url
    raw_path, _, query = bytes(url.raw_path).partition(b"?")
    headers = request.headers
    return Request(
        method=request.method,
        origin=(url.scheme, url.host, url.port),
        raw_path=raw_path.decode("ascii", "replace"),
        path=url.path,
        query=query.decode("ascii", "replace"),
        content_type=headers.get("content-type", ""),
        authorization=headers.get("authorization", ""),
        body=_body_in_memory(request),
        has_digest=any(name in headers for name in _OVER_THE_BODY),
    )


def whole_body(response: Any, held: HeldBytes) -> bytes:
    """Return a response's body, as much as ``held`` takes, and close the response."""
    try:
        for chunk in response.iter_bytes():
            held.add(chunk)
    finally:
        response.close()
    return held.take()


async def whole_body_async(response: Any, held: HeldBytes) -> bytes:
    """Return what ``whole_body`` does, of an async response."""
    try:
        async for chunk in response.aiter_bytes():
            held.add(chunk)
    finally:
        await response.aclose()
    return held.take()
