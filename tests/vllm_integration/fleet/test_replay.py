"""A sealed request that is sent again, and again, through the router."""

from __future__ import annotations

import json

import pytest

from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.errors import ForeignResponseError
from tests.vllm_integration.attacks.clients import CANARY, asking
from tests.vllm_integration.attacks.relay import Move, Relay, Reply, Request
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.fleet.replicas import (
    Watch,
    prompt_tokens,
    wait_for_prompt_tokens,
)
from tests.vllm_integration.servers import Server

pytestmark = pytest.mark.vllm

TIMES = 6
# Each replica runs it once: they do not share what they have seen.
STATUSES = [200, 200, *[425] * (TIMES - 2)]


class SentAgain:
    """A relay's move: send a request ``TIMES`` times, answer with one of the replies."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.replies: list[Reply] = []

    def __call__(self, relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return relay.forward(request)
        self.replies = [relay.forward(request) for _ in range(TIMES)]
        return self.replies[self._number]


@pytest.mark.parametrize("number", [0, 1])
def test_each_replica_runs_it_once_for_the_client_it_was_from(
    relay: Relay,
    identity: Identity,
    replicas: tuple[Server, Server],
    watch: Watch,
    number: int,
) -> None:
    before = prompt_tokens(replicas)
    relay.move = move = SentAgain(number)

    with asking(relay, identity.fingerprint) as client:
        outcome = client.ask()

    assert [reply.status for reply in move.replies] == STATUSES
    assert outcome.is_the_truth()
    by_status = [
        sorted(line.status for line in answered.elements() if line.method == "POST")
        for answered in watch.by_replica()
    ]
    assert by_status == [[200, 425, 425]] * 2
    ran = 2 * json.loads(outcome.body)["usage"]["prompt_tokens"]
    wait_for_prompt_tokens(replicas, before + ran)
    assert prompt_tokens(replicas) == before + ran


@pytest.mark.parametrize("number", [2, TIMES - 1])
def test_refusal_says_to_its_client_that_it_was_replayed(
    relay: Relay, identity: Identity, number: int
) -> None:
    relay.move = SentAgain(number)

    with asking(relay, identity.fingerprint) as client:
        outcome = client.ask()

    assert outcome.is_status(425, mark=Mark.OPENED, code="request_replayed")


def test_nobody_else_opens_any_of_the_answers(relay: Relay, identity: Identity) -> None:
    assert CANARY.content is not None
    relay.move = move = SentAgain(0)
    with asking(relay, identity.fingerprint) as client:
        assert client.ask().is_the_truth()

    for reply in move.replies:
        relay.move = _instead(reply)
        with asking(relay, identity.fingerprint) as other:
            outcome = other.ask()
        assert outcome.is_refused_with(ForeignResponseError)
        assert CANARY.content.encode() not in reply.body


def _instead(reply: Reply) -> Move:
    def move(relay: Relay, request: Request) -> Reply:
        return relay.forward(request) if request.is_for_a_document else reply

    return move
