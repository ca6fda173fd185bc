"""The sidecar's own metrics, at a path of ours: ``/metrics`` stays the engine's."""

from __future__ import annotations

from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from stainedglass_output_protection.apps.http_messages import Receive, Send
from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.protocol.routes import REFUSED
from stainedglass_output_protection.server.refusals import method_not_allowed
from stainedglass_output_protection.server.refusing import refuse

METRICS_PATH: Final = f"{DOCUMENT_PATH}/metrics"
_METHODS: Final = ("GET", "HEAD")


class Metrics:
    """Shows what is in ``registry``, and what this process uses; the rest is ``app``'s.

    No label holds a word that a client chose, so no key is needed to read them.
    """

    def __init__(self, app: Any, registry: CollectorRegistry) -> None:
        self._app = app
        self._registry = registry
        ProcessCollector(registry=registry)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] != "http" or scope["path"] != METRICS_PATH:
            await self._app(scope, receive, send)
            return
        if scope["method"] not in _METHODS:
            await refuse(method_not_allowed(), REFUSED, send)
            return
        body = generate_latest(self._registry)
        headers = [
            (b"content-type", CONTENT_TYPE_LATEST.encode("ascii")),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        shown = body if scope["method"] == "GET" else b""
        await send({"type": "http.response.body", "body": shown})
