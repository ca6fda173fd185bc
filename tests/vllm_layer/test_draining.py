"""A process that stops: what runs ends whole, what comes is refused, probes are told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.server.draining import PROCESS, Draining
from stainedglass_output_protection.vllm.draining import finishing, finishing_first
from tests.asgi_driver import Opened, body_of, make_ring, protect
from tests.server.asking import Recorder, ask, code_of
from tests.server.observing import DONE, EVENT

# Nobody waits so long unless something is broken.
LONG_S = 60.0
READY = "/.well-known/output-protection/ready"


@pytest.fixture(autouse=True)
def draining(monkeypatch: pytest.MonkeyPatch) -> Draining:
    """This test's own process, as it were."""
    own = Draining()
    monkeypatch.setattr(PROCESS, "draining", own)
    return own


class Slow:
    """A stream that goes on when it is told to."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        self.began.set()
        await self.goes_on.wait()
        await send({"type": "http.response.body", "body": EVENT + DONE})


class EngineClient:
    """Says when it was told to stop, and how much time it was given."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []

    def shutdown(self, timeout: float | None = None) -> None:
        self.timeouts.append(timeout)


async def test_the_engine_is_stopped_when_the_last_answer_has_ended(
    draining: Draining,
) -> None:
    app, pair, engine = Slow(), ClientKeyPair.generate(), EngineClient()
    target = protect(app)
    running = asyncio.create_task(ask(target, header_keys=[pair.header_value]))
    await app.began.wait()
    stopping = asyncio.create_task(
        asyncio.to_thread(finishing(engine.shutdown), timeout=LONG_S)
    )
    while not (draining.is_stopping or stopping.done()):
        await asyncio.sleep(0)
    asking = ask(target, b"{}", header_keys=[pair.header_value])
    late = await asyncio.wait_for(asking, LONG_S)
    assert code_of(late) == (503, "keys_unavailable")
    probe = await ask(target, path=READY, method="GET")
    assert probe[0]["status"] == 503
    assert json.loads(body_of(probe))["reason"].startswith("The server is stopping")
    assert engine.timeouts == []
    app.goes_on.set()
    opened = Opened(await running, pair)
    assert opened.is_complete
    assert opened.body == EVENT + EVENT + DONE
    await stopping
    (left,) = engine.timeouts
    assert left is not None
    assert 0 < left <= LONG_S


async def test_no_answer_gets_more_time_than_the_operator_gives(
    draining: Draining,
) -> None:
    app, pair, engine = Slow(), ClientKeyPair.generate(), EngineClient()
    running = asyncio.create_task(ask(protect(app), header_keys=[pair.header_value]))
    await app.began.wait()
    shutdown = finishing(engine.shutdown)
    await asyncio.to_thread(shutdown, timeout=0.01)
    assert engine.timeouts == [0.0]
    # vLLM calls it again on the loop's own thread, where nobody may wait.
    shutdown(timeout=LONG_S)
    assert engine.timeouts == [0.0, LONG_S]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_thread_that_answers_is_never_made_to_wait() -> None:
    app, pair, engine = Slow(), ClientKeyPair.generate(), EngineClient()
    running = asyncio.create_task(ask(protect(app), header_keys=[pair.header_value]))
    await app.began.wait()
    finishing(engine.shutdown)(timeout=LONG_S)
    assert engine.timeouts == [LONG_S]
    app.goes_on.set()
    assert Opened(await running, pair).is_complete


@pytest.mark.parametrize("given", [{}, {"timeout": None}, {"timeout": 0}])
async def test_without_time_the_engine_is_stopped_at_once(given: Any) -> None:
    app, pair, engine = Slow(), ClientKeyPair.generate(), EngineClient()
    running = asyncio.create_task(ask(protect(app), header_keys=[pair.header_value]))
    await app.began.wait()
    finishing(engine.shutdown)(**given)
    assert engine.timeouts == [given.get("timeout")]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_request_that_ended_in_any_way_holds_nobody_up(
    draining: Draining,
) -> None:
    async def raising(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError

    ring, key = make_ring(), ClientKeyPair.generate().header_value
    await ask(protect(raising, ring), header_keys=[key])
    await ask(protect(Recorder(), ring))
    await ask(protect(Recorder(), ring), header_keys=[key], is_cut=True)
    assert draining.finish(LONG_S) > LONG_S / 2


async def test_the_client_of_the_app_s_engine_is_the_one_that_waits(
    draining: Draining,
) -> None:
    class App:
        class state:  # noqa: N801 - as Starlette names it
            engine_client = EngineClient()

    async def serve_http(app: Any, port: int) -> int:
        await asyncio.to_thread(app.state.engine_client.shutdown, timeout=1)
        return port

    assert await finishing_first(serve_http)(App, 80) == 80
    assert draining.is_stopping
    assert len(App.state.engine_client.timeouts) == 1
