"""A replica that is killed while it answers, behind each router."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from stainedglass_output_protection.errors import TruncatedError
from tests.fleet.asking import PROFILES, all_told, ask_all, sdk_for, session_of
from tests.fleet.engine import GOES_ON_VARIABLE, MODEL, question, text
from tests.fleet.kinds import KINDS, Kind
from tests.fleet.light import Fleet
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.servers import Server, wait_for

# Until each replica has some; routers that go by prompts may take long to.
_MOST = 60
_LEAST = 2
_LIMIT_S = 120.0


@dataclass
class Streamed:
    """A stream that has begun: by whom, the rest, and what came of it."""

    pid: int
    parts: Any
    said: str
    number: int
    error: Exception | None = None
    finish_reason: str | None = None

    def read_on(self) -> None:
        """Read to the end, or to the error."""
        try:
            for part in self.parts:
                for choice in part.choices:
                    self.said += choice.delta.content or ""
                    self.finish_reason = choice.finish_reason or self.finish_reason
        except Exception as error:
            self.error = error


@dataclass
class Held:
    """Two replicas behind a router, and what they hold until ``goes_on`` is there."""

    fleet: Fleet
    router: Router
    replicas: list[Server]
    goes_on: Path
    sdks: list[openai.OpenAI]

    def counts(self) -> list[int]:
        """Return how many answers each replica has held."""
        return [it.log.count("held\n") for it in self.replicas]

    def wait_for(self, count: int) -> None:
        """Wait until so many answers are held."""
        wait_for(lambda: sum(self.counts()) >= count, "held answers", _LIMIT_S)

    def ask(self, number: int, *, is_stream: bool) -> Any:
        """Ask a question whose answer is held, in a session of its own."""
        content = question(number, is_held=True)
        return self.sdks[number % len(self.sdks)].chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": content}],
            stream=is_stream,
            extra_headers=session_of(number),
        )

    def begin_stream(self, number: int) -> Streamed:
        """Ask, and read as far as it goes."""
        parts = iter(self.ask(number, is_stream=True))
        first = next(parts).choices[0].delta.content
        said = next(parts).choices[0].delta.content
        return Streamed(int(first.strip("[ ]")), parts, said, number)


@pytest.fixture(params=KINDS, ids=str)
def held(
    request: pytest.FixtureRequest, fleet: Fleet, tmp_path: Path
) -> Iterator[Held]:
    """A fresh pair of replicas behind each router."""
    kind: Kind = request.param
    goes_on = tmp_path / "goes-on"
    holding = fleet.having(**{GOES_ON_VARIABLE: str(goes_on)})
    with contextlib.ExitStack() as stack:
        names = [f"{which}, {kind}" for which in ("killed", "survivor")]
        replicas = stack.enter_context(holding.replicas(*names))
        stack.callback(goes_on.touch)
        urls = [it.url for it in replicas]
        running = kind.running(f"router of a killed one, {kind}", fleet.folder, *urls)
        router = stack.enter_context(running)
        sdks = [
            stack.enter_context(sdk_for(router.url, fleet.identity, profile))
            for profile in PROFILES
        ]
        yield Held(fleet, router, replicas, goes_on, sdks)


def test_cut_streams_are_truncated_and_nothing_else_is_wrong(held: Held) -> None:
    killed, survivor = held.replicas
    with ThreadPoolExecutor(_MOST) as pool:
        streams: list[Streamed] = []
        while not _has_both([it.pid for it in streams], held.replicas):
            assert len(streams) < _MOST
            streams.append(held.begin_stream(len(streams)))
        held.wait_for(len(streams))
        began = held.counts()
        unary: list[tuple[int, Future[Any]]] = []
        while not all(now - then >= _LEAST for now, then in _pairs(held, began)):
            assert len(unary) < _MOST
            number = 100 + len(unary)
            unary.append((number, pool.submit(held.ask, number, is_stream=False)))
            held.wait_for(sum(began) + len(unary))

        killed.process.kill()
        killed.process.wait()
        # While some are still held, all that is new is served.
        ask_all(held.router.url, held.fleet.identity, range(200, 240))
        held.goes_on.touch()
        for stream in streams:
            stream.read_on()
        answers = [(number, _result(future)) for number, future in unary]

    for stream in streams:
        whole = text(stream.number)
        if stream.pid == killed.process.pid:
            assert isinstance(stream.error, TruncatedError)
            assert stream.finish_reason is None
            assert whole.startswith(stream.said)
            assert stream.said != whole
        else:
            assert stream.pid == survivor.process.pid
            assert (stream.error, stream.said) == (None, whole)
            assert stream.finish_reason == "stop"
    for number, answer in answers:
        # The router asked the other one, or said that it could not.
        assert isinstance(answer, openai.APIError) or answer == all_told(number)


def _has_both(pids: list[int], replicas: list[Server]) -> bool:
    return all(pids.count(it.process.pid) >= _LEAST for it in replicas)


def _pairs(held: Held, began: list[int]) -> list[tuple[int, int]]:
    return list(zip(held.counts(), began, strict=True))


def _result(future: Future[Any]) -> Any:
    try:
        answer = future.result(_LIMIT_S)
    except openai.APIError as error:
        return error
    choice = answer.choices[0]
    return (choice.message.content, choice.finish_reason, answer.usage.total_tokens)
