"""The own route that shows what a path does to streams and headers.

Specification: ``protocol.md#path-probe``. Its answer is a constant of some hundred
bytes: nothing of the request is in it, and nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.types import Scope, Send

from stainedglass_output_protection.protocol.path_probe import (
    PROBE_BODY,
    PROBE_HEADER,
    PROBE_VALUES,
)
from stainedglass_output_protection.protocol.routes import REFUSED
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.refusals import method_not_allowed
from stainedglass_output_protection.server.refusing import refuse

_METHODS: Final = ("GET", "HEAD")


async def answer_probe(
    scope: Scope, send: Send, *, ring_of: Callable[[Scope], KeyRing]
) -> None:
    """Answer with a comment and an event, and with one header sent twice.

    ``ring_of`` is not asked: it is there as for the other own routes.
    """
    if scope["method"] not in _METHODS:
        await refuse(method_not_allowed(), REFUSED, send)
        return
    name = PROBE_HEADER.encode("ascii")
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"content-length", str(len(PROBE_BODY)).encode("ascii")),
        (b"cache-control", b"no-store"),
        *((name, value.encode("ascii")) for value in PROBE_VALUES),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    shown = PROBE_BODY if scope["method"] == "GET" else b""
    await send({"type": "http.response.body", "body": shown})
