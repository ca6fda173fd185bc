"""What the protection costs per streamed event, in units of a do-nothing middleware.

The unit is Starlette's ``BaseHTTPMiddleware`` that hands everything on: what a server
pays for any middleware of the usual kind. Both are measured in the same rounds, over an
application that sends its events with nothing in between, into a ``send`` that does
nothing; the bare application's own time is taken off both.

Events of the size of the first shape's, or smaller ones, may cost ``TARGET_RATIO``; larger
ones more, in proportion to their bytes.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from starlette.middleware.base import BaseHTTPMiddleware

from benchmarks.events import SHAPES, Shape
from benchmarks.harness import (
    App,
    application,
    discard,
    fresh_client_key,
    one_response,
    protection,
    receiving,
    scope_of,
)

TARGET_RATIO = 1 / 3
GOAL_RATIO = 1 / 4
EVENTS = 500
ROUNDS = 60


@dataclass(frozen=True)
class Cost:
    """Microseconds of processor time per event, their ratio, and the most it may be."""

    shape: str
    loop: str
    bare_us: float
    protection_us: float
    base_http_us: float
    ratio: float
    ratio_low: float
    ratio_high: float
    limit: float

    @property
    def is_met(self) -> bool:
        """Whether the ratio is within its limit."""
        return self.ratio <= self.limit

    def report(self) -> dict[str, Any]:
        """Return the members for JSON."""
        return {**asdict(self), "met": self.is_met}


def measure_all(
    *, rounds: int = ROUNDS, shapes: Sequence[Shape] = SHAPES
) -> list[Cost]:
    """Measure every shape on the event loop that vLLM runs on, if it is installed."""
    return [measure(shape, rounds=rounds) for shape in shapes]


def measure(shape: Shape, *, rounds: int, events: int = EVENTS) -> Cost:
    """Measure one shape: all variants in every round, in random order."""
    app = application([event.data for event in one_response(shape, events)])
    variants: dict[str, App] = {
        "bare": app,
        "protection": protection(app),
        "base": BaseHTTPMiddleware(app, dispatch=_hand_on),
    }
    scope = scope_of(shape.path, fresh_client_key(), is_opaque=shape.is_opaque)
    times: dict[str, list[float]] = {name: [] for name in variants}
    loop, loop_name = new_loop()
    try:
        order = list(variants)
        for number in range(rounds + 2):
            random.shuffle(order)
            for name in order:
                taken = loop.run_until_complete(_once(variants[name], scope))
                if number >= 2:
                    times[name].append(taken / events * 1e6)
    finally:
        loop.close()
    bare = statistics.median(times["bare"])
    protected = _differences(times["protection"], times["bare"])
    base = _differences(times["base"], times["bare"])
    ratios = [left / right for left, right in zip(protected, base, strict=True)]
    low, *_, high = statistics.quantiles(ratios, n=20)
    return Cost(
        shape=shape.name,
        loop=loop_name,
        bare_us=round(bare, 3),
        protection_us=round(statistics.median(protected), 3),
        base_http_us=round(statistics.median(base), 3),
        ratio=round(statistics.median(protected) / statistics.median(base), 4),
        ratio_low=round(low, 4),
        ratio_high=round(high, 4),
        limit=round(limit_of(shape), 4),
    )


def limit_of(shape: Shape) -> float:
    """Return the most that an event of a shape may cost."""
    return TARGET_RATIO * max(1.0, _mean_bytes(shape) / _mean_bytes(SHAPES[0]))


def new_loop() -> tuple[asyncio.AbstractEventLoop, str]:
    """Return a loop of the kind that vLLM uses, or else asyncio's, and its name."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop(), "asyncio"
    return uvloop.new_event_loop(), "uvloop"


@cache
def _mean_bytes(shape: Shape) -> float:
    return statistics.mean(len(event.data) for event in one_response(shape, EVENTS))


async def _once(app: App, scope: dict[str, Any]) -> float:
    # The thread's own time: other processes of a busy machine are not in it.
    started = time.thread_time()
    await app({**scope}, receiving(), discard)
    return time.thread_time() - started


async def _hand_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


def _differences(taken: list[float], bare: list[float]) -> list[float]:
    return [left - right for left, right in zip(taken, bare, strict=True)]
