"""A router that sends the same bytes again after a 5xx."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vllm_integration.asking import new_test_id
from tests.vllm_integration.attacks.clients import asking
from tests.vllm_integration.attacks.relay import Relay, Reply, Request, serving
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.fleet.replicas import Answered, Watch
from tests.vllm_integration.fleet.router import routing
from tests.vllm_integration.servers import Server

pytestmark = pytest.mark.vllm

CHAT = "/v1/chat/completions"


class FirstFails:
    """A relay's move: something goes wrong with the first request that comes."""

    def __init__(self, fail: str) -> None:
        self._fail = fail
        self._has_failed = False

    def __call__(self, relay: Relay, request: Request) -> Reply:
        if self._has_failed or request.is_for_a_document or request.method == "GET":
            return relay.forward(request)
        self._has_failed = True
        if self._fail == "before the replica":
            return Reply(503, (("content-type", "text/plain"),), b"no upstream")
        # The tap raises where vLLM's answer would begin.
        for name, value in (
            ("x-test-id", new_test_id("retried")),
            ("x-test-fault", "before"),
        ):
            request = request.with_header(name, value)
        return relay.forward(request)


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
def test_same_bytes_succeed_where_a_replica_was_away(
    replicas: tuple[Server, Server],
    folder: Path,
    identity: Identity,
    watch: Watch,
    stream: bool,
) -> None:
    first, second = replicas
    with (
        serving(Relay(first.port, FirstFails("before the replica"))) as front,
        serving(Relay(second.port)) as other,
        routing("router, one away", folder, front.url, other.url) as router,
        serving(Relay(router.port)) as relay,
    ):
        # The first is asked sooner or later.
        with asking(relay, identity.fingerprint) as client:
            outcomes = [client.ask(stream=stream) for _ in range(2)]

        assert all(outcome.is_the_truth() for outcome in outcomes)
        assert watch.posts() == {Answered("POST", CHAT, 200): 2}
        sent = [it.body for it in (*front.requests, *other.requests) if it.body]
        assert len(sent) == 3
        assert len(set(sent)) == 2
        assert len(relay.sealed) == 2


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
def test_same_bytes_succeed_where_they_have_failed(
    replicas: tuple[Server, Server],
    folder: Path,
    identity: Identity,
    watch: Watch,
    stream: bool,
) -> None:
    first, _ = replicas
    with (
        serving(Relay(first.port, FirstFails("in the replica"))) as front,
        routing("router, one worker", folder, front.url) as router,
        serving(Relay(router.port)) as relay,
    ):
        with asking(relay, identity.fingerprint) as client:
            outcome = client.ask(stream=stream)

        assert outcome.is_the_truth()
        assert watch.posts() == {
            Answered("POST", CHAT, 500): 1,
            Answered("POST", CHAT, 200): 1,
        }
        sent = [it.body for it in front.requests if it.body]
        assert len(sent) == 2
        assert len(set(sent)) == 1
        assert len(relay.sealed) == 1
