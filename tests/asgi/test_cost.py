"""``protect`` puts nothing between an event and the layer that seals it."""

from __future__ import annotations

import gc
import sys
from typing import Any

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.asgi.applications import PIECES, Identity, event
from tests.asgi_driver import Message, call
from tests.asgi_driver import protect as middleware_alone

_EVENT = b"data: " + event(PIECES[0]) + b"\n\n"


def streaming(count: int) -> Any:
    """Return an application that sends ``count`` events and the end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(count):
            body: Message = {"type": "http.response.body", "body": _EVENT}
            await send({**body, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    return app


async def calls_of(app: Any) -> int:
    """Return how many Python functions a whole answer calls."""
    count = 0

    def seen(frame: Any, kind: str, argument: Any) -> None:
        nonlocal count
        count += kind == "call"

    # What a collection finds to call is none of this answer's.
    gc.disable()
    sys.setprofile(seen)
    try:
        await call(app, key_pair=ClientKeyPair.generate())
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


async def calls_of_100_events(make: Any) -> int:
    """Return the calls for 100 events more, in a process that has warmed up."""
    for count in (50, 150, 50):
        await call(make(streaming(count)), key_pair=ClientKeyPair.generate())
    return await calls_of(make(streaming(150))) - await calls_of(make(streaming(50)))


async def test_an_event_costs_not_one_call_more(identity: Identity) -> None:
    alone = await calls_of_100_events(middleware_alone)
    protected = await calls_of_100_events(
        lambda app: protect(app, identity_key_file=identity.path)
    )

    assert protected == alone
    assert alone >= 100
