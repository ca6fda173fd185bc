"""Processor time from the call of the application to its first event, per request."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.cost import new_loop
from benchmarks.events import Shape
from benchmarks.harness import (
    App,
    application,
    fresh_client_key,
    one_response,
    protection,
    receiving,
    scope_of,
)

TARGET_MS = 0.5
REQUESTS = 1_000


@dataclass(frozen=True)
class FirstEvent:
    """Milliseconds of processor time; ``added_ms`` is the median of the differences."""

    requests: int
    plain_ms: float
    protected_ms: float
    added_ms: float
    added_p95_ms: float

    @property
    def is_met(self) -> bool:
        """Whether the target is met."""
        return self.added_ms <= TARGET_MS

    def report(self) -> dict[str, Any]:
        """Return the members for JSON."""
        return {**asdict(self), "met": self.is_met}


def measure(*, requests: int = REQUESTS) -> FirstEvent:
    """Measure pairs of requests, one without and one with the protection."""
    shape = Shape("content")
    plain_app = application([event.data for event in one_response(shape, 1)])
    protected_app = protection(plain_app)
    plain: list[float] = []
    protected: list[float] = []
    loop, _ = new_loop()
    try:
        for number in range(requests + 10):
            # A client's key is fresh for every request, and made elsewhere.
            scope = scope_of(shape.path, fresh_client_key())
            pair = (plain_app, plain), (protected_app, protected)
            for app, times in pair if number % 2 else pair[::-1]:
                times.append(loop.run_until_complete(_first_event(app, scope)) * 1e3)
    finally:
        loop.close()
    plain, protected = plain[10:], protected[10:]
    added = [right - left for left, right in zip(plain, protected, strict=True)]
    return FirstEvent(
        requests=requests,
        plain_ms=round(statistics.median(plain), 4),
        protected_ms=round(statistics.median(protected), 4),
        added_ms=round(statistics.median(added), 4),
        added_p95_ms=round(statistics.quantiles(added, n=20)[-1], 4),
    )


async def _first_event(app: App, scope: dict[str, Any]) -> float:
    arrived: list[float] = []

    async def send(message: Any) -> None:
        if not arrived and message["type"] == "http.response.body":
            arrived.append(time.thread_time())

    started = time.thread_time()
    await app({**scope}, receiving(), send)
    return arrived[0] - started
