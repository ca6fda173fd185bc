"""Whether a probe may send requests here: a usable key, and an engine that answers.

The keys are the protection's own affair, which answers at this path; only if it is
content the engine is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from stainedglass_output_protection.apps.http_messages import Receive, Send
from stainedglass_output_protection.apps.sidecar.upstream import Upstream
from stainedglass_output_protection.server.own_answers import READING
from stainedglass_output_protection.server.readiness import (
    READY_PATH,
    answer_not_ready,
)

HEALTH_S: Final = 2.0
# Who asks sooner gets the same word: the engine is not asked for each probe.
_KEPT_S: Final = 1.0
_FIRST_FAILURE: Final = 500

# Returns what is wrong with the engine in one sentence, or nothing.
Probe = Callable[[], Awaitable[str]]


def engine_probe(upstream: Upstream, health_path: str, limit_s: float) -> Probe:
    """Return what asks the engine for ``health_path``, for ``limit_s`` seconds.

    Any answer but a 5xx counts: an engine may have no such path.
    """
    url = f"{upstream.base_url}{health_path}"
    times = dict.fromkeys(("connect", "pool", "read", "write"), limit_s)
    headers = {"accept-encoding": "identity", "connection": "close"}

    async def ask() -> int:
        request = upstream.library.Request(
            "GET", url, headers=headers, extensions={"timeout": times}
        )
        response = await upstream.transport.handle_async_request(request)
        status: int = response.status_code
        await response.stream.aclose()
        return status

    async def probe() -> str:
        try:
            status = await asyncio.wait_for(ask(), limit_s)
        except (upstream.library.TimeoutException, asyncio.TimeoutError):
            return f"The engine does not answer within {limit_s:g} s."
        except upstream.library.RemoteProtocolError:
            return "The engine answers, but not in HTTP, or it hangs up: wrong port?"
        except upstream.library.ConnectError:
            return "The engine cannot be reached: nothing listens there."
        except (upstream.library.TransportError, OSError) as error:
            return f"The engine cannot be reached ({type(error).__name__})."
        if status >= _FIRST_FAILURE:
            return f"The engine says that it is not healthy: it answers {status}."
        return ""

    return probe


class SharedProbe:
    """Asks ``probe`` once for all who ask at the same time, and soon after."""

    def __init__(self, probe: Probe, clock: Callable[[], float]) -> None:
        self._probe = probe
        self._clock = clock
        self._asking: asyncio.Task[str] | None = None
        self._answered_at: float | None = None

    async def __call__(self) -> str:
        """Return what is wrong with the engine, or nothing."""
        asking = self._asking
        if asking is None or self._is_old():
            self._answered_at = None
            asking = self._asking = asyncio.ensure_future(self._ask())
        # Whoever leaves must not take the answer of the others along.
        return await asyncio.shield(asking)

    def _is_old(self) -> bool:
        at = self._answered_at
        return at is not None and self._clock() - at >= _KEPT_S

    async def _ask(self) -> str:
        try:
            return await self._probe()
        finally:
            self._answered_at = self._clock()


class Readiness:
    """Adds the engine's state to what ``app``, a protected one, says of its keys.

    ``not_ready`` says in one sentence why requests are not taken yet, or nothing.
    """

    def __init__(
        self,
        app: Any,
        probe: Probe,
        *,
        not_ready: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._probe = SharedProbe(probe, clock)
        self._not_ready = not_ready

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] != "http" or scope["path"] != READY_PATH:
            await self._app(scope, receive, send)
            return
        waits = self._not_ready() if scope["method"] in READING else ""
        if waits:
            await answer_not_ready(scope, send, waits)
            return
        said: list[Any] = []

        async def keep(message: Any) -> None:
            said.append(message)

        await self._app(scope, receive, keep)
        is_ready = bool(said) and said[0]["status"] == 200
        reason = await self._probe() if is_ready else ""
        if reason:
            await answer_not_ready(scope, send, reason)
            return
        for message in said:
            await send(message)
