"""The own route that shows what a path does to streams and headers.

Specification: ``protocol.md#path-probe``. Its answer is a constant of some hundred
bytes: nothing of the request is in it, and nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Scope, Send

from stainedglass_output_protection.protocol.path_probe import (
    PROBE_BODY,
    PROBE_HEADER,
    PROBE_VALUES,
)
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.own_answers import (
    answer_whole,
    refuses_method,
)


async def answer_probe(
    scope: Scope, send: Send, *, ring_of: Callable[[Scope], KeyRing]
) -> None:
    """Answer with a comment and an event, and with one header sent twice.

    ``ring_of`` is not asked: it is there as for the other own routes.
    """
    if await refuses_method(scope, send):
        return
    name = PROBE_HEADER.encode("ascii")
    await answer_whole(
        scope,
        send,
        PROBE_BODY,
        media_type=b"text/event-stream; charset=utf-8",
        headers=[(name, value.encode("ascii")) for value in PROBE_VALUES],
    )
