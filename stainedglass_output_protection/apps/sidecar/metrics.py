"""The sidecar's own metrics, at a path of ours: ``/metrics`` stays the engine's."""

from __future__ import annotations

from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from stainedglass_output_protection.apps.http_messages import Receive, Send
from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.server.own_answers import (
    answer_whole,
    refuses_method,
)

METRICS_PATH: Final = f"{DOCUMENT_PATH}/metrics"


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
        if await refuses_method(scope, send):
            return
        body = generate_latest(self._registry)
        media_type = CONTENT_TYPE_LATEST.encode("ascii")
        await answer_whole(scope, send, body, media_type=media_type)
