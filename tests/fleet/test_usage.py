"""Whoever counts the tokens of answers still can: ``usage`` stays readable."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import h11
import openai
import pytest

from tests.fleet.asking import PROFILES, all_told, ask, sdk_for, session_of
from tests.fleet.canary import forms_in
from tests.fleet.engine import MODEL, PROMPT_TOKENS, pieces, question
from tests.fleet.kinds import KINDS, STACK, Kind
from tests.fleet.light import Fleet
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.servers import Server
from tests.vllm_integration.tcp_tap import TcpTap

ANSWERS = 7
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


@pytest.fixture(scope="module")
def replicas(fleet: Fleet) -> Iterator[list[Server]]:
    """Two replicas."""
    with fleet.replicas("counted one", "counted two") as made:
        yield made


@pytest.fixture(scope="module", params=KINDS, ids=str)
def router(
    request: pytest.FixtureRequest, fleet: Fleet, replicas: list[Server]
) -> Iterator[Router]:
    """Each router before them."""
    kind: Kind = request.param
    urls = [it.url for it in replicas]
    with kind.running(f"passing usage, {kind}", fleet.folder, *urls) as made:
        yield made


@pytest.mark.parametrize("is_stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("profile", PROFILES)
def test_the_tokens_on_the_wire_are_those_of_the_opened_answers(
    fleet: Fleet, router: Router, profile: str, is_stream: bool
) -> None:
    with (
        TcpTap(router.port) as tap,
        sdk_for(tap.url, fleet.identity, profile) as sdk,
    ):
        opened = [_opened_usage(sdk, it, is_stream) for it in range(ANSWERS)]
        wires = tap.from_server

    # Somebody in between adds up as many.
    on_wire = [it for wire in wires for body in _bodies(wire) for it in _usages(body)]
    expected = (PROMPT_TOKENS, len(pieces(0)), PROMPT_TOKENS + len(pieces(0)))
    assert _sums(opened) == tuple(ANSWERS * it for it in expected)
    assert _sums(on_wire) == _sums(opened)
    assert len(on_wire) == ANSWERS
    # And reads no word of it.
    assert forms_in(wires) == set()


@pytest.mark.parametrize("kind", STACK[:1], ids=str)
def test_the_tokens_of_whole_answers_are_counted(
    fleet: Fleet, kind: Kind, replicas: list[Server]
) -> None:
    urls = [it.url for it in replicas]
    with kind.running("counter", fleet.folder, *urls) as router:
        for profile in PROFILES:
            with sdk_for(router.url, fleet.identity, profile) as sdk:
                for number in range(ANSWERS):
                    told = ask(sdk, number, is_chat=True, is_stream=False)
                    assert told == all_told(number)

        asked = ANSWERS * len(PROFILES)
        assert _total(router, "vllm:input_tokens_total") == asked * PROMPT_TOKENS
        assert _total(router, "vllm:output_tokens_total") == asked * len(pieces(0))


def _total(router: Router, name: str) -> float:
    counts = re.findall(rf"^{name}{{.*}} (\S+)$", router.metrics_text(), re.M)
    return sum(map(float, counts))


def _opened_usage(sdk: openai.OpenAI, number: int, is_stream: bool) -> dict[str, int]:
    """Ask a question and return the usage that the program is told."""
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": question(number)}],
        "stream": is_stream,
        "extra_headers": session_of(number),
    }
    if is_stream:
        asked["stream_options"] = {"include_usage": True}
    answer: Any = sdk.chat.completions.create(**asked)
    parts = list(answer) if is_stream else [answer]
    (usage,) = [part.usage for part in parts if part.usage is not None]
    told: dict[str, int] = usage.model_dump()
    return told


def _sums(usages: list[dict[str, int]]) -> tuple[int, ...]:
    return tuple(sum(it[name] for it in usages) for name in _COUNTS)


def _usages(body: bytes) -> Iterator[dict[str, int]]:
    """Yield what a body counts, be it JSON or events with JSON."""
    for line in body.splitlines():
        data = line.removeprefix(b"data: ")
        if data.startswith(b"{") and (usage := json.loads(data).get("usage")):
            yield usage


def _bodies(wire: bytes) -> Iterator[bytes]:
    """Yield the bodies of the answers that one connection has brought."""
    reader = h11.Connection(h11.CLIENT)
    reader.receive_data(wire)
    while reader.trailing_data[0]:
        if reader.our_state is not h11.IDLE:
            reader.start_next_cycle()
        reader.send(h11.Request(method="GET", target="/", headers=[("host", "any")]))
        reader.send(h11.EndOfMessage())
        body = b""
        event: Any = None
        # Nobody waits for what ends a stream after its last event: it may not be there.
        while not (isinstance(event, h11.EndOfMessage) or event is h11.NEED_DATA):
            event = reader.next_event()
            body += bytes(event.data) if isinstance(event, h11.Data) else b""
        yield body
        if event is h11.NEED_DATA:
            return
