"""An observer that keeps what it is told, and applications with every kind of end."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from stainedglass_output_protection.protocol.routes import RouteTable
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.metrics import PrometheusObserver
from stainedglass_output_protection.server.middleware import ProtectionMiddleware
from stainedglass_output_protection.server.observer import Finished, KeyState, Observer
from stainedglass_output_protection.server.options import Options
from tests.asgi_driver import ASGIApp, answering, make_ring
from tests.server.asking import CANARY

EVENT = (
    b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,'
    b'"delta":{"content":"' + CANARY.encode() + b'"}}]}\n\n'
)
DONE = b"data: [DONE]\n\n"
STREAM = answering(*[EVENT] * 100, DONE)
UNKNOWN = "/made/up"


class Kept:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.began = 0
        self.ended: list[Finished] = []
        self.rotations: list[tuple[int, bool]] = []
        self.keys: list[KeyState] = []

    def request_began(self) -> None:
        self.began += 1

    def request_ended(self, request: Finished) -> None:
        self.ended.append(request)

    def rotated(self, *, made: int, has_failed: bool) -> None:
        self.rotations.append((made, has_failed))

    def keys_are(self, state: KeyState) -> None:
        self.keys.append(state)


class Metrics:
    """A registry with our metrics in it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.observer = PrometheusObserver(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample; None if there is none."""
        return self.registry.get_sample_value(f"output_protection_{name}", labels)

    def series(self, name: str) -> list[dict[str, str]]:
        """Return the labels of every series of a metric."""
        return [
            sample.labels
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == f"output_protection_{name}"
        ]


def observed(
    app: ASGIApp,
    observer: Observer,
    ring: KeyRing | None = None,
    **options: Any,
) -> ProtectionMiddleware:
    """Return ``app`` behind the middleware, which tells ``observer``."""
    used = make_ring() if ring is None else ring
    routes = RouteTable(protected=["/added"])
    return ProtectionMiddleware(
        app,
        Options(routes=routes, **options),
        ring_of=lambda scope: used,
        observer=observer,
    )


async def raising(scope: Any, receive: Any, send: Any) -> None:
    """Raise before anything is sent."""
    raise RuntimeError(CANARY)


async def raising_later(scope: Any, receive: Any, send: Any) -> None:
    """Raise in the middle of a stream."""
    start = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": start})
    await send({"type": "http.response.body", "body": EVENT, "more_body": True})
    raise RuntimeError(CANARY)


async def stopping_short(scope: Any, receive: Any, send: Any) -> None:
    """Return in the middle of a stream."""
    start = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": start})
    await send({"type": "http.response.body", "body": EVENT, "more_body": True})


async def seeing_it_leave(scope: Any, receive: Any, send: Any) -> None:
    """Stop in the middle of a stream because the client has gone."""
    await stopping_short(scope, receive, send)
    while (await receive())["type"] != "http.disconnect":
        pass


async def raising_when_it_leaves(scope: Any, receive: Any, send: Any) -> None:
    """Raise in the middle of a stream because the client has gone."""
    await seeing_it_leave(scope, receive, send)
    raise ConnectionError
