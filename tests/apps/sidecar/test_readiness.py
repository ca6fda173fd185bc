"""When a probe is told to send requests here, and otherwise why not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stainedglass_output_protection.apps.sidecar.readiness import SharedProbe
from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.server.key_ring import KeyRing
from tests.apps.proxy.running import unused_port
from tests.apps.sidecar.engines import (
    Asked,
    Engine,
    answering,
    reset,
    running,
    say,
)
from tests.apps.sidecar.sidecars import READY, beside
from tests.asgi.serving import fetched


async def loading(asked: Asked, writer: Any) -> None:
    say(writer, b"{}", status="503 Service Unavailable")


async def without_health(asked: Asked, writer: Any) -> None:
    say(writer, b"{}", status="404 Not Found")


async def silent(asked: Asked, writer: Any) -> None:
    await asked.reader.read()
    writer.close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    with running(Engine(answering())) as made:
        yield made


@pytest.mark.parametrize(
    ("serve", "status", "words"),
    [
        (answering(), 200, ""),
        (without_health, 200, ""),
        (loading, 503, "answers 503"),
        (reset(b""), 503, "hangs up: wrong port?"),
        (silent, 503, "does not answer within"),
    ],
    ids=["well", "without /health", "loading", "dying", "silent"],
)
def test_readiness_is_the_engine_s_too(
    engine: Engine,
    serve: Any,
    status: int,
    words: str,
) -> None:
    engine.serve = serve
    choices: dict[str, Any] = {"health_s": 0.2} if serve is silent else {}
    with beside(engine.address, **choices) as sidecar:
        told, reason = sidecar.ready()

    assert told == status
    assert words in reason


def test_an_engine_that_is_down() -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    with beside(url) as sidecar:
        assert sidecar.ready()[0] == 503
        # Anybody may ask, so it does not say where the engine is.
        assert "cannot be reached" in sidecar.ready()[1]
        assert url not in sidecar.ready()[1]
        # Its own health is the engine's, so it cannot be had.
        assert fetched(f"{sidecar.url}/health").status_code == 502


def test_without_a_key_the_engine_is_not_even_asked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(ring: KeyRing, now_ms: int) -> Any:
        raise KeysUnavailableError("No epoch of this server has begun.")

    with beside(engine.address) as sidecar:
        assert sidecar.ready() == (200, "")
        asked = len(engine.asked)
        monkeypatch.setattr(KeyRing, "current", none)
        assert sidecar.ready() == (503, "No epoch of this server has begun.")

    assert len(engine.asked) == asked


def test_another_path_than_health(engine: Engine) -> None:
    with beside(engine.address, health_path="/healthz?deep=1") as sidecar:
        assert sidecar.ready()[0] == 200

    assert [it.path for it in engine.asked] == ["/healthz?deep=1"]


def test_a_head_has_no_body(engine: Engine) -> None:
    with beside(engine.address) as sidecar:
        told = fetched(sidecar.url + READY, method="HEAD")
        other = fetched(sidecar.url + READY, method="POST")

    assert (told.status_code, told.content) == (200, b"")
    assert other.status_code == 405


async def test_many_probes_are_one_question_whose_answer_is_kept() -> None:
    now = 100.0
    may_answer = asyncio.Event()
    asked: list[float] = []

    async def probe() -> str:
        asked.append(now)
        await may_answer.wait()
        return "It sleeps."

    shared = SharedProbe(probe, lambda: now)
    many = [asyncio.ensure_future(shared()) for _ in range(20)]
    await asyncio.sleep(0)
    # Who leaves takes nobody's answer along.
    many.pop().cancel()
    may_answer.set()

    assert await asyncio.gather(*many) == ["It sleeps."] * 19
    assert len(asked) == 1
    now += 0.9
    await shared()
    assert len(asked) == 1
    now += 0.2
    await shared()
    assert len(asked) == 2
