"""Puts the sidecar together: forwarding, protection around it, readiness and metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from stainedglass_output_protection.apps.forwarding import (
    BrokenOffError,
    Forwarding,
    Limits,
)
from stainedglass_output_protection.apps.http_messages import Receive, Send
from stainedglass_output_protection.apps.sidecar.dated import Dated
from stainedglass_output_protection.apps.sidecar.engine_log import EngineLog
from stainedglass_output_protection.apps.sidecar.failures import (
    EngineFailures,
    broken_off,
)
from stainedglass_output_protection.apps.sidecar.forwarded_for import with_peer
from stainedglass_output_protection.apps.sidecar.gate import BODY_S, Gate
from stainedglass_output_protection.apps.sidecar.keys import SidecarKeys
from stainedglass_output_protection.apps.sidecar.metrics import Metrics
from stainedglass_output_protection.apps.sidecar.readiness import (
    HEALTH_S,
    Readiness,
    engine_probe,
)
from stainedglass_output_protection.apps.sidecar.upstream import Upstream
from stainedglass_output_protection.asgi.parts import Parts
from stainedglass_output_protection.asgi.protected_app import ProtectedApp
from stainedglass_output_protection.hosting.evidence import load_evidence_provider
from stainedglass_output_protection.hosting.settings import Settings, load_settings
from stainedglass_output_protection.server.failures import LoggedError
from stainedglass_output_protection.server.metrics import PrometheusObserver


def make_sidecar(
    upstream: Upstream,
    *,
    limits: Limits,
    keeps_responses: bool = True,
    adds_members: bool = True,
    health_path: str = "/health",
    health_s: float = HEALTH_S,
    body_s: float = BODY_S,
    settings: Settings | None = None,
) -> Any:
    """Return the ASGI application. Its settings are the ``SG_`` variables, unless given.

    ``body_s`` is the longest time in seconds between pieces of a request's body,
    ``health_s`` that for the engine's word on its health. Its metrics are in a registry
    of its own, so that each one counts for itself.

    Raises:
        ConfigurationError: a setting is bad, or ``PROMETHEUS_MULTIPROC_DIR`` names no
            folder that can be used.
    """
    settings = settings or load_settings()
    load_evidence_provider(settings.evidence_provider)
    registry = CollectorRegistry()
    failures = EngineFailures(upstream.library, upstream.name)
    log = EngineLog(PrometheusObserver(registry), failures)
    parts = Parts(
        settings,
        keeps_responses=keeps_responses,
        adds_members=adds_members,
        observer=log,
    )
    parts.keys = keys = SidecarKeys(settings, log)
    # A body is read whole before the engine is asked, whether it has a key or not.
    parts.options = replace(parts.options, max_request_bytes=limits.request_bytes)
    protected = ProtectedApp(Engine(upstream, limits, failures, log), parts)
    probe = engine_probe(upstream, health_path, health_s)
    ready = Readiness(protected, probe, not_ready=keys.not_ready)
    gate = Gate(
        Metrics(ready, registry),
        at_once=limits.at_once,
        body_s=body_s,
        observed=protected.observed,
    )
    return Dated(gate)


class Engine:
    """The engine as an application, whose answers are in the clear."""

    def __init__(
        self,
        upstream: Upstream,
        limits: Limits,
        failures: EngineFailures,
        log: EngineLog,
    ) -> None:
        self._forwarding = Forwarding(
            upstream.transport,
            library=upstream.library,
            base_url=upstream.base_url,
            failures=failures,
            limits=limits,
            done=log.done,
            stopped="The server was stopped while it was answering.",
        )
        # Of an answer that is no stream, nothing has left before its end.
        self.exception_handlers = {Exception: _broken_off}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one scope.

        Raises:
            LoggedError: the answer cannot be completed.
        """
        if scope["type"] == "http":
            scope = {**scope, "headers": with_peer(scope)}
        try:
            await self._forwarding(scope, receive, send)
        except BrokenOffError:
            # The log of the engine says why.
            raise LoggedError from None


def _broken_off(request: Request, error: Exception) -> Response:
    status, headers, body = broken_off(request.url.path)
    response = Response(body, status_code=status)
    response.raw_headers[:] = headers
    return response
