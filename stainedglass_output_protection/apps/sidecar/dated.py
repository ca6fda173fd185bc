"""The header ``Date``, in answers that have none: those that are not the engine's.

Clients compare their clock with it (RFC 9110, section 6.6.1).
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Any, Final

from stainedglass_output_protection.apps.http_messages import Receive, Send

_DATE: Final = b"date"


class Dated:
    """Serves ``app``. uvicorn's own dates would come beside an engine's."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def dated(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"]]
                if not any(name.lower() == _DATE for name, _ in headers):
                    headers.append((_DATE, formatdate(usegmt=True).encode("ascii")))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, dated)
