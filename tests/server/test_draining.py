"""Whom a process that stops waits for: what it answers, and no client that is silent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stainedglass_output_protection.server.draining import PROCESS, Draining
from tests.asgi_driver import CHAT, Message, body_of, make_ring, protect
from tests.server.asking import JSON, Recorder, ask, code_of, fresh
from tests.server.sealing import sealed

# Nobody waits so long unless something is broken.
LONG_S = 60.0


@pytest.fixture(autouse=True)
def draining(monkeypatch: pytest.MonkeyPatch) -> Draining:
    """This test's own process, as it were."""
    own = Draining()
    monkeypatch.setattr(PROCESS, "draining", own)
    return own


class Silent:
    """A request whose body comes when it is told to."""

    def __init__(self, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.sent: list[Message] = []
        self.is_waited_for = asyncio.Event()
        self.speaks = asyncio.Event()
        self._body = body
        self._headers = [(b"content-type", JSON.encode()), *headers]

    async def ask(self, target: Any) -> None:
        await target(
            {
                "type": "http",
                "method": "POST",
                "path": CHAT,
                "query_string": b"",
                "root_path": "",
                "headers": self._headers,
            },
            self._receive,
            self._send,
        )

    async def _receive(self) -> Message:
        self.is_waited_for.set()
        await self.speaks.wait()
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("keys", [0, 1])
async def test_nobody_waits_for_a_body_that_does_not_come(
    draining: Draining, keys: int
) -> None:
    key = fresh()[1].encode()
    request = Silent(b"{}", *[(b"x-client-public-key", key)] * keys)
    asking = asyncio.create_task(request.ask(protect(Recorder())))
    await asyncio.wait_for(request.is_waited_for.wait(), LONG_S)
    assert await asyncio.to_thread(draining.finish, LONG_S) > 0
    request.speaks.set()
    await asyncio.wait_for(asking, LONG_S)


async def test_a_body_that_comes_too_late_is_refused_and_not_remembered(
    draining: Draining, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, app = make_ring(), Recorder()
    target = protect(app, ring)
    made = sealed(ring)
    request = Silent(made.body)
    asking = asyncio.create_task(request.ask(target))
    await asyncio.wait_for(request.is_waited_for.wait(), LONG_S)
    await asyncio.to_thread(draining.finish, LONG_S)
    request.speaks.set()
    await asyncio.wait_for(asking, LONG_S)
    assert code_of(request.sent) == (503, "keys_unavailable")
    assert app.calls == 0
    # Asked again, as after a restart, it is no replay.
    monkeypatch.setattr(PROCESS, "draining", Draining())
    sent = await ask(target, made.body)
    assert made.open(sent).is_complete
    assert app.calls == 1
    assert body_of(sent)
