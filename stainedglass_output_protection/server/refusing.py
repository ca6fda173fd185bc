"""The ASGI side of refusals: an answer, an application and a filter that give them."""

from __future__ import annotations

import logging

from starlette.types import Message, Receive, Scope, Send

from stainedglass_output_protection.errors import RequestError
from stainedglass_output_protection.protocol.routes import REFUSED, Route
from stainedglass_output_protection.server.refusals import (
    refusal,
    route_not_protected,
)

logger = logging.getLogger(__name__)

_ANSWER = ("http.response.start", "http.response.body")


def without_success(send: Send) -> Send:
    """Return a ``send`` for a request that no route serves: errors and redirects only.

    A router's own fallback could answer anything, and no row of the table speaks of it.
    """
    is_refused = False

    async def send_failures(message: Message) -> None:
        nonlocal is_refused
        if message["type"] == "http.response.start" and message["status"] < 300:
            is_refused = True
            logger.info("Request refused: no route serves it, and it was answered")
            await refuse(route_not_protected(), REFUSED, send)
        elif not is_refused and message["type"] in _ANSWER:
            await send(message)

    return send_failures


class Refusing:
    """An application that answers every request with one error."""

    def __init__(self, error: RequestError, route: Route) -> None:
        self._error = error
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse(self._error, self._route, send)


async def refuse(error: RequestError, route: Route, send: Send) -> None:
    """Send the whole answer to a refused request."""
    status, headers, body = refusal(error, route.carrier)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
