"""Mixed traffic through each router to two replicas, while keys change every second."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2
import pytest

from stainedglass_output_protection.client.verdict import Mark
from tests.fleet.asking import ask_all
from tests.fleet.canary import forms_in
from tests.fleet.engine import CHAT, MODEL, question
from tests.fleet.kinds import KINDS, Kind
from tests.fleet.light import Fleet, key_id_at
from tests.vllm_integration.fleet import malformed
from tests.vllm_integration.fleet.bad_client import A_SECOND, SECONDS, BadClient
from tests.vllm_integration.fleet.replicas import Watch
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.servers import Server, wait_for
from tests.vllm_integration.tcp_tap import TcpTap

REQUESTS = 200
_ROTATION_LIMIT_S = 60.0


@dataclass
class Way:
    """The way to two replicas: a router, with taps on both sides of it."""

    kind: Kind
    router: Router
    taps: list[TcpTap]

    @property
    def url(self) -> str:
        """Where clients ask: at the tap before the router."""
        return self.taps[0].url

    def overheard(self) -> bytes:
        """Return all that anybody on the way has seen or kept."""
        wires = [it for tap in self.taps for it in tap.from_server + tap.from_client]
        kept = (self.router.log, self.router.metrics_text())
        return b"\n".join([*wires, *(it.encode() for it in kept)])


@contextlib.contextmanager
def tapped(kind: Kind, fleet: Fleet, replicas: list[Server]) -> Iterator[Way]:
    """Put a router before ``replicas``, and the taps around it."""
    with contextlib.ExitStack() as stack:
        behind = [stack.enter_context(TcpTap(it.port)) for it in replicas]
        name = f"router of {len(replicas)}, {kind}"
        urls = [tap.url for tap in behind]
        router = stack.enter_context(kind.running(name, fleet.folder, *urls))
        front = stack.enter_context(TcpTap(router.port))
        yield Way(kind, router, [front, *behind])


@pytest.fixture(scope="module")
def replicas(fleet: Fleet) -> Iterator[list[Server]]:
    """Two replicas."""
    with fleet.replicas("one", "two") as made:
        yield made


@pytest.fixture(scope="module", params=KINDS, ids=str)
def way(
    request: pytest.FixtureRequest, fleet: Fleet, replicas: list[Server]
) -> Iterator[Way]:
    """The way through each router."""
    with tapped(request.param, fleet, replicas) as made:
        yield made


def test_two_hundred_mixed_requests_open_while_keys_change_every_second(
    way: Way, fleet: Fleet, replicas: list[Server]
) -> None:
    watch = Watch(replicas)
    before = key_id_at(replicas[0])
    verdicts = ask_all(way.url, fleet.identity, range(REQUESTS // 2))
    # Whatever the clients of before had for a key, it is not the newest any more.
    known = {before, *(it.key_id for it in verdicts)}
    wait_for(
        lambda: {key_id_at(it) for it in replicas}.isdisjoint(known),
        "a new key",
        _ROTATION_LIMIT_S,
    )
    verdicts += ask_all(way.url, fleet.identity, range(REQUESTS // 2, REQUESTS))

    assert len(verdicts) == REQUESTS
    assert {it.mark for it in verdicts} == {Mark.OPENED}
    assert {it.identity for it in verdicts} == {fleet.identity}
    assert len({it.key_id for it in verdicts}) >= 2
    for answered in watch.by_replica():
        assert any(it.status == 200 and it.path == CHAT for it in answered)
        assert not [it for it in answered if it.status >= 500]
    assert way.router.troubles() == {}
    assert all(tap.from_server for tap in way.taps)
    assert forms_in(way.overheard()) == set()


def test_flood_of_malformed_requests_hurts_nobody_else(
    way: Way, fleet: Fleet, replicas: list[Server]
) -> None:
    watch = Watch(replicas)
    bad = BadClient(
        way.router.port,
        kinds=[it for it in malformed.KINDS if not way.kind.answers_itself(it)],
        document_port=replicas[0].port,
    )

    with ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(bad.send_all)
        rounds = 0
        while not flooding.done() or rounds < 2:
            rounds += 1
            ask_all(way.url, fleet.identity, range(40), clients=4)
        flooding.result()

    assert bad.unexpected == []
    assert sum(it.total() for it in bad.statuses.values()) == A_SECOND * SECONDS
    # A router takes 408, 429 and 5xx for a worker's fault.
    served = {it.status for it in watch.posts()}
    assert not {it for it in served if it >= 500 or it in (408, 429)}
    assert way.router.troubles() == {}
    assert forms_in(way.overheard()) == set()


def test_what_goes_this_way_in_the_clear_is_found(fleet: Fleet) -> None:
    # Or the search above would show nothing.
    talks = fleet.having(SG_KEYLESS_REQUESTS="allow")
    with talks.replicas("talker") as made, tapped(KINDS[0], fleet, made) as way:
        for stream in (False, True):
            message = {"role": "user", "content": question(1)}
            asked = {"model": MODEL, "stream": stream, "messages": [message]}
            answer = httpx2.post(f"{way.url}{CHAT}", json=asked, timeout=60)
            assert answer.status_code == 200
            assert all("raw" in forms_in(tap.from_server) for tap in way.taps)
