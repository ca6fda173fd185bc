"""What comes to the sidecar at all: so many requests at once, and none that stands still.

It is outermost, so it counts requests that have no key and those that are not complete:
their bodies take memory, too. Our own routes have no bodies, and are never kept out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from stainedglass_output_protection.apps.http_messages import Receive, Send
from stainedglass_output_protection.apps.proxy.head_deadline import HEAD_S
from stainedglass_output_protection.apps.sidecar.engine_log import forget_request
from stainedglass_output_protection.apps.sidecar.failures import (
    BUSY,
    TOO_SLOW,
    answer_in_place,
)
from stainedglass_output_protection.apps.sidecar.metrics import METRICS_PATH
from stainedglass_output_protection.server.observation import Observation
from stainedglass_output_protection.server.own_routes import OWN_ROUTES

logger = logging.getLogger(__name__)

# Between two pieces of a request's body: as long as for its head.
BODY_S: Final = HEAD_S
# For all of it: a byte now and then would keep a place for ever.
WHOLE_BODY_S: Final = 20 * BODY_S
_OURS: Final = frozenset({*OWN_ROUTES, METRICS_PATH})


class Gate:
    """Lets ``at_once`` requests through to ``app``, each with ``body_s`` for a piece.

    All pieces of a body together have ``whole_body_s``. Both are in seconds.
    ``observed`` returns what observes a request that is turned away; None for one that
    nothing observes.
    """

    def __init__(
        self,
        app: Any,
        *,
        at_once: int,
        body_s: float = BODY_S,
        whole_body_s: float = WHOLE_BODY_S,
        observed: Callable[[Any, Send], Observation | None] = lambda scope, send: None,
    ) -> None:
        self._app = app
        self._at_once = at_once
        self._body_s = body_s
        self._whole_body_s = whole_body_s
        self._observed = observed
        self._running = 0
        self._turned_away = 0

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path in _OURS:
            await self._app(scope, receive, send)
            return
        if self._running >= self._at_once:
            await self._turn_away(scope, send)
            return
        forget_request()
        self._running += 1
        try:
            await self._bounded(scope, receive, send)
        finally:
            self._running -= 1

    async def _turn_away(self, scope: Any, send: Send) -> None:
        self._turned_away += 1
        # Each time the number doubles: a flood does not fill the log.
        if self._turned_away & (self._turned_away - 1) == 0:
            logger.error(
                "sidecar_busy: %d requests run, as many as may, so others get 503, %d so "
                "far. Raise --max-running, or start another sidecar.",
                self._at_once,
                self._turned_away,
            )
        seen = self._observed(scope, send)
        if seen is None:
            await answer_in_place(BUSY, scope["path"], send)
            return
        with seen:
            await answer_in_place(BUSY, scope["path"], seen.send)

    async def _bounded(self, scope: Any, receive: Receive, send: Send) -> None:
        body = _Body(receive, self._body_s, self._whole_body_s)
        has_begun = False

        async def watched(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        await self._app(scope, body.receive, watched)
        if body.is_late and not has_begun:
            await answer_in_place(TOO_SLOW, scope["path"], send)


class _Body:
    """A request's body. ``is_late`` says that it did not come in time."""

    def __init__(self, receive: Receive, piece_s: float, whole_s: float) -> None:
        self._receive = receive
        self._piece_s = piece_s
        self._clock = asyncio.get_running_loop().time
        self._ends = self._clock() + whole_s
        self._has_more = True
        self.is_late = False

    async def receive(self) -> Any:
        """Return the next message; to the application, who is late has left."""
        if not self._has_more:
            return await self._receive()
        left_s = min(self._piece_s, self._ends - self._clock())
        try:
            message = await asyncio.wait_for(self._receive(), left_s)
        except asyncio.TimeoutError:
            self.is_late = True
            return {"type": "http.disconnect"}
        self._has_more = bool(message.get("more_body"))
        return message
