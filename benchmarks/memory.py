"""How much memory one response takes, however long it is: peak and resident."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.events import DONE, Shape
from benchmarks.harness import (
    discard,
    fresh_client_key,
    one_response,
    protection,
    receiving,
    scope_of,
)

_WARM_UP = 2_000
_STATM = Path("/proc/self/statm")
_CONTENT = Shape("content")


def can_read_resident() -> bool:
    """Whether the system tells a process how much of it is resident."""
    return _STATM.exists()


def peak_growth(events: int, *, shape: Shape = _CONTENT) -> int:
    """Return the most bytes that a response of ``events`` events holds at a time.

    Exact and slow: every allocation is traced. Counted from when the response is well
    under way, so that what is made once is not in it.
    """
    baseline = 0

    def warmed_up() -> None:
        nonlocal baseline
        gc.collect()
        tracemalloc.reset_peak()
        baseline = tracemalloc.get_traced_memory()[0]

    tracemalloc.start(1)
    try:
        asyncio.run(_respond(shape, events, warmed_up))
        return tracemalloc.get_traced_memory()[1] - baseline
    finally:
        tracemalloc.stop()


def resident_growth(events: int, *, shape: Shape = _CONTENT) -> int:
    """Return by how many bytes the process is larger after ``events`` events."""
    baseline = 0

    def warmed_up() -> None:
        nonlocal baseline
        gc.collect()
        baseline = _resident()

    asyncio.run(_respond(shape, events, warmed_up))
    return _resident() - baseline


async def _respond(shape: Shape, events: int, warmed_up: Callable[[], None]) -> None:
    some = [event.data for event in one_response(shape, 500)][:-1]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(start)
        for number in range(events):
            if number == _WARM_UP:
                warmed_up()
            data = some[number % len(some)]
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": DONE, "more_body": False})

    scope = scope_of(shape.path, fresh_client_key())
    await protection(app)(scope, receiving(), discard)


def _resident() -> int:
    return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
