"""Whether a probe may send requests here: a usable key, and an engine that answers.

The keys are the protection's own affair, which answers at this path; only if it is
content the engine is asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from stainedglass_output_protection.apps.http_messages import Receive, Send
from stainedglass_output_protection.apps.sidecar.upstream import Upstream
from stainedglass_output_protection.server.readiness import READY_PATH

_LIMIT_S: Final = 2.0
_FIRST_FAILURE: Final = 500

# Returns what is wrong with the engine in one sentence, or nothing.
Probe = Callable[[], Awaitable[str]]


def engine_probe(upstream: Upstream, health_path: str) -> Probe:
    """Return what asks the engine for ``health_path``.

    Any answer but a 5xx counts: an engine may have no such path.
    """
    url = f"{upstream.base_url}{health_path}"
    times = dict.fromkeys(("connect", "pool", "read", "write"), _LIMIT_S)
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
            status = await asyncio.wait_for(ask(), _LIMIT_S)
        except (upstream.library.TimeoutException, asyncio.TimeoutError):
            return f"The engine does not answer within {_LIMIT_S:g} s."
        except (upstream.library.TransportError, OSError) as error:
            return f"The engine cannot be reached ({type(error).__name__})."
        if status >= _FIRST_FAILURE:
            return f"The engine says that it is not healthy: it answers {status}."
        return ""

    return probe


class Readiness:
    """Adds the engine's state to what ``app``, a protected one, says of its keys."""

    def __init__(self, app: Any, probe: Probe) -> None:
        self._app = app
        self._probe = probe

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] != "http" or scope["path"] != READY_PATH:
            await self._app(scope, receive, send)
            return
        said: list[Any] = []

        async def keep(message: Any) -> None:
            said.append(message)

        await self._app(scope, receive, keep)
        is_ready = bool(said) and said[0]["status"] == 200
        reason = await self._probe() if is_ready else ""
        if reason:
            said = _unavailable(reason, shows_body=scope["method"] == "GET")
        for message in said:
            await send(message)


def _unavailable(reason: str, *, shows_body: bool) -> list[Any]:
    body = json.dumps({"ready": False, "reason": reason}).encode("ascii")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
    ]
    return [
        {"type": "http.response.start", "status": 503, "headers": headers},
        {"type": "http.response.body", "body": body if shows_body else b""},
    ]
