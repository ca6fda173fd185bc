"""The task that turns the ring: when it wakes, and what it survives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.server import rotation


class Ring:
    """Says when to wake, and fails as it is told."""

    def __init__(self, waits: list[int], failures: list[Exception | None]) -> None:
        self._waits: Iterator[int] = iter(waits)
        self._failures = iter(failures)
        self.retired = 0

    def next_tick_ms(self, now_ms: int) -> int:
        return next(self._waits)

    def tick(self, now_ms: int) -> None:
        failure = next(self._failures)
        if failure is not None:
            raise failure

    def retire(self, now_ms: int) -> None:
        self.retired += 1


async def run(ring: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(rotation.asyncio, "sleep", sleep)
    task = asyncio.ensure_future(rotation.rotate_periodically(ring))
    with pytest.raises((StopIteration, RuntimeError)):
        await task
    return slept


async def test_it_wakes_when_the_ring_says_and_not_more_than_ten_times_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ring = Ring([3_600_000, 0, 99, 1_800_000], [None] * 4)
    assert await run(ring, monkeypatch) == [3600.0, 0.1, 0.1, 1800.0]


async def test_it_survives_what_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[Exception | None] = [
        KeysUnavailableError("said by the ring"),
        OSError("a secret word"),
        None,
    ]
    ring = Ring([1000] * 3, failures)
    assert len(await run(ring, monkeypatch)) == 3
    assert ring.retired == 1
    assert "Key rotation failed (OSError)" in caplog.text
    assert "secret word" not in caplog.text
    assert "said by the ring" not in caplog.text
