"""What passes a gateway: a request, its answer, and the acts that change them.

An act is given the request and a way to forward it, and returns the answer; so it can
change either, forward twice, or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from stainedglass_output_protection.protocol.events import EventSplitter
from tests.client.fake_server import Received

Headers = list[tuple[str, str]]


@dataclass
class Asked(Received):
    """A request on its way; ``goes_elsewhere`` sends it to the other server."""

    goes_elsewhere: bool = False


@dataclass
class Answer:
    """An answer on its way; the pieces of the body are what is sent in one go."""

    status: int
    headers: Headers
    body: AsyncIterator[bytes]

    def value(self, name: str) -> str:
        """Return the first header with this name in lower case, or nothing."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def is_stream(self) -> bool:
        return self.value("content-type").startswith("text/event-stream")

    @property
    def is_json(self) -> bool:
        return self.value("content-type").startswith("application/json")


Forward = Callable[[Asked], Awaitable[Answer]]
Act = Callable[[Asked, Forward], Awaitable[Answer]]


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """Return a body of these parts."""
    for part in parts:
        yield part


async def whole(body: AsyncIterator[bytes]) -> bytes:
    """Return all of a body."""
    return b"".join([piece async for piece in body])


async def blocks_of(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the events of a stream, each as soon as it is whole; then what is left."""
    splitter = EventSplitter()
    async for piece in body:
        for block in splitter.feed(piece):
            yield block
    for block in splitter.end():
        yield block
    if splitter.rest():
        yield splitter.rest()


def on_request(change: Callable[[Asked], Asked]) -> Act:
    """Return the act of changing the request."""

    async def act(asked: Asked, forward: Forward) -> Answer:
        return await forward(change(asked))

    return act


def on_answer(change: Callable[[Answer], Answer]) -> Act:
    """Return the act of changing the answer to everything but a key document."""

    async def act(asked: Asked, forward: Forward) -> Answer:
        answer = await forward(asked)
        return answer if asked.is_for_document else change(answer)

    return act


def on_headers(change: Callable[[Headers], Headers]) -> Act:
    """Return the act of changing the headers of every answer."""

    async def act(asked: Asked, forward: Forward) -> Answer:
        answer = await forward(asked)
        return replace(answer, headers=change(answer.headers))

    return act


def on_stream(change: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]) -> Act:
    """Return the act of changing the events of streams; ``change`` gets one at a time."""

    def changed(answer: Answer) -> Answer:
        if not answer.is_stream:
            return answer
        return replace(answer, body=change(blocks_of(answer.body)))

    return on_answer(changed)


def on_unary(change: Callable[[bytes], bytes]) -> Act:
    """Return the act of changing the whole body of answers that are no streams."""

    async def once(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield change(await whole(body))

    def changed(answer: Answer) -> Answer:
        return answer if answer.is_stream else replace(answer, body=once(answer.body))

    return on_answer(changed)


def both(*acts: Act) -> Act:
    """Return the act of doing all of these."""

    async def act(asked: Asked, forward: Forward) -> Answer:
        for one in reversed(acts):
            forward = _bound(one, forward)
        return await forward(asked)

    return act


def _bound(act: Act, forward: Forward) -> Forward:
    async def bound(asked: Asked) -> Answer:
        return await act(asked, forward)

    return bound
