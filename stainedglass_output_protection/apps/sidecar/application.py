"""Puts the sidecar together: forwarding, protection around it, readiness and metrics."""

from __future__ import annotations

import logging
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from stainedglass_output_protection.apps.forwarding import Done, Forwarding, Limits
from stainedglass_output_protection.apps.http_messages import Receive, Send
from stainedglass_output_protection.apps.sidecar.failures import (
    EngineFailures,
    broken_off,
)
from stainedglass_output_protection.apps.sidecar.metrics import Metrics
from stainedglass_output_protection.apps.sidecar.readiness import (
    Readiness,
    engine_probe,
)
from stainedglass_output_protection.apps.sidecar.upstream import Upstream
from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.server.metrics import PrometheusObserver

logger = logging.getLogger(__name__)


def make_sidecar(
    upstream: Upstream,
    *,
    limits: Limits,
    keeps_responses: bool = True,
    adds_members: bool = True,
    health_path: str = "/health",
) -> Any:
    """Return the ASGI application. Its settings are the ``SG_`` variables.

    Its metrics are in a registry of its own, so that each one counts for itself.

    Raises:
        ConfigurationError: a setting is bad, or ``PROMETHEUS_MULTIPROC_DIR`` names no
            folder that can be used.
    """
    registry = CollectorRegistry()
    protected = protect(
        Engine(upstream, limits),
        keeps_responses=keeps_responses,
        adds_members=adds_members,
        observer=PrometheusObserver(registry),
    )
    ready = Readiness(protected, engine_probe(upstream, health_path))
    return Metrics(ready, registry)


class Engine:
    """The engine as an application, whose answers are in the clear."""

    def __init__(self, upstream: Upstream, limits: Limits) -> None:
        failures = EngineFailures(upstream.library)

        def done(it: Done) -> None:
            if it.error is not None:
                path = it.path.encode("unicode_escape").decode("ascii")
                words = failures.log_line(it.error)
                logger.error("%s %s: %s", it.method, path, words)

        self._forwarding = Forwarding(
            upstream.transport,
            library=upstream.library,
            base_url=upstream.base_url,
            failures=failures,
            limits=limits,
            done=done,
            stopped="The server was stopped while it was answering.",
        )
        # Of an answer that is no stream, nothing has left before its end.
        self.exception_handlers = {Exception: _broken_off}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        await self._forwarding(scope, receive, send)


def _broken_off(request: Request, error: Exception) -> Response:
    status, headers, body = broken_off(request.url.path)
    response = Response(body, status_code=status)
    response.raw_headers[:] = headers
    return response
