"""Five hundred streams at once, each opened completely."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import uvicorn

from stainedglass_output_protection.apps.listening import Address
from tests.apps.proxy.apis import ASKED, CHAT
from tests.apps.proxy.commands import started
from tests.apps.proxy.test_streaming import LIMIT_S, Stepping
from tests.client.fake_server import DONE, EVENTS, chat_event

STREAMS = 500
EVENT_COUNT = 10
# A machine that is busy with handshakes only would meet timeouts.
AT_ONCE = 16


class Together(Stepping):
    """Sends one event of each stream, and the others when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.running = 0
        self._others = asyncio.Event()

    def send_the_others(self) -> None:
        """Let all streams go on."""
        self._others.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.running += 1
        headers = [(b"content-type", EVENTS.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(EVENT_COUNT):
            part = chat_event(str(number))
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await self._others.wait()
        await send({"type": "http.response.body", "body": DONE, "more_body": False})


@contextlib.asynccontextmanager
async def served_here(app: Any) -> AsyncIterator[int]:
    """Serve in this loop: threads would wait for one another all the time."""
    config = uvicorn.Config(app, log_level="error", lifespan="off", backlog=STREAMS)
    serving = uvicorn.Server(config)
    listener = Address("127.0.0.1", 0, who="A test").listen()
    task = asyncio.create_task(serving.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        serving.should_exit = True
        await task


async def test_500_streams_at_once_are_all_opened() -> None:
    server = Together()
    expected = b"".join(chat_event(str(it)) for it in range(EVENT_COUNT)) + DONE
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(served_here(server.app))
        options = ("--identity", server.ring.identity.fingerprint)
        proxy = await asyncio.to_thread(
            stack.enter_context, started(f"http://127.0.0.1:{port}", *options)
        )
        # Each idle connection would be looked at for each other one.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        client = await stack.enter_async_context(
            httpx.AsyncClient(limits=limits, timeout=LIMIT_S)
        )
        gate = asyncio.Semaphore(AT_ONCE)
        request = client.build_request(
            "POST", f"{proxy.url}{CHAT}", json={**ASKED, "stream": True}
        )

        async def begun() -> tuple[httpx.Response, AsyncIterator[bytes], bytes]:
            async with gate:
                answer = await client.send(request, stream=True)
                chunks = answer.aiter_raw()
                return answer, chunks, await chunks.__anext__()

        try:
            streams = await asyncio.gather(*(begun() for _ in range(STREAMS)))
            assert server.running == STREAMS
        finally:
            server.send_the_others()
        found: Counter[tuple[int, bytes]] = Counter()
        for answer, rest, first in streams:
            others = [chunk async for chunk in rest]
            found[answer.status_code, first + b"".join(others)] += 1

    assert found == {(200, expected): STREAMS}
