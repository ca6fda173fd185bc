"""How the routes that are ours answer: to who reads only, whole, and never from a store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.types import Scope, Send

from stainedglass_output_protection.protocol.routes import REFUSED
from stainedglass_output_protection.server.refusals import method_not_allowed
from stainedglass_output_protection.server.refusing import refuse

READING: Final = ("GET", "HEAD")
JSON: Final = b"application/json"


async def refuses_method(scope: Scope, send: Send) -> bool:
    """Refuse a request that does more than read; tell whether it was refused."""
    if scope["method"] in READING:
        return False
    await refuse(method_not_allowed(), REFUSED, send)
    return True


async def answer_whole(
    scope: Scope,
    send: Send,
    body: bytes,
    *,
    status: int = 200,
    media_type: bytes = JSON,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send the whole answer to GET; to HEAD, all but the body."""
    start = [
        (b"content-type", media_type),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    shown = body if scope["method"] == "GET" else b""
    await send({"type": "http.response.body", "body": shown})
