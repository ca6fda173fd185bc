"""Profile output: what a relay does to keys and requests, and the limits of it."""

from __future__ import annotations

import json

import pytest

from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.errors import (
    ForeignResponseError,
    IdentityMismatchError,
)
from stainedglass_output_protection.protocol.fields_reader import find_frame
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.opener import Opener
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.attacks.clients import (
    API_KEY,
    CANARY,
    Asking,
    Outcome,
    asking,
)
from tests.vllm_integration.attacks.conftest import NothingRuns
from tests.vllm_integration.attacks.impostor import WORDS, Impostor
from tests.vllm_integration.attacks.relay import Relay, Reply
from tests.vllm_integration.attacks.request_moves import (
    KEY_HEADER,
    KEY_MEMBER,
    answer_dictated,
    client_key_header_added,
    client_key_member_added,
    client_key_swapped_for,
    plainly_asked,
    question_changed,
    to_requests,
)
from tests.vllm_integration.attacks.request_moves import WORDS as DICTATED
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import MODEL

pytestmark = pytest.mark.vllm


def test_answers_are_sealed(answers_relay: Relay, output_client: Asking) -> None:
    for stream in (False, True):
        assert output_client.ask(stream=stream).is_the_truth()


def test_server_of_the_relays_own_is_not_the_pinned_one(
    answers_relay: Relay, output_client: Asking, impostor: Impostor
) -> None:
    answers_relay.move = lambda relay, request: relay.forward(
        request, port=impostor.port
    )

    assert output_client.ask().is_refused_with(IdentityMismatchError)


@pytest.mark.parametrize(
    "change",
    [client_key_header_added, client_key_member_added],
    ids=lambda change: change.__name__,
)
def test_two_client_keys_are_refused(
    answers_relay: Relay,
    output_client: Asking,
    nothing_runs: NothingRuns,
    change: object,
) -> None:
    answers_relay.move = to_requests(change)  # type: ignore[arg-type]

    with nothing_runs():
        outcome = output_client.ask()

    code = "client_key_duplicated"
    assert outcome.is_status(400, mark=Mark.UNAUTHENTICATED, code=code)


def test_one_client_key_is_enough(answers_relay: Relay, output_client: Asking) -> None:
    answers_relay.move = to_requests(lambda it: it.with_header(KEY_HEADER, None))
    assert output_client.ask().is_the_truth()
    answers_relay.move = to_requests(lambda it: it.with_members(**{KEY_MEMBER: ...}))
    assert output_client.ask().is_the_truth()


def test_client_key_taken_away_is_refused(
    answers_relay: Relay, output_client: Asking, nothing_runs: NothingRuns
) -> None:
    answers_relay.move = to_requests(
        lambda it: it.with_header(KEY_HEADER, None).with_members(**{KEY_MEMBER: ...})
    )

    with nothing_runs():
        outcome = output_client.ask()

    code = "client_key_missing"
    assert outcome.is_status(400, mark=Mark.UNAUTHENTICATED, code=code)


def test_stored_responses_are_refused(
    answers_relay: Relay, output_client: Asking
) -> None:
    asked = {"model": MODEL, "input": "x", "store": True}

    outcome = output_client.send("POST", "/v1/responses", asked)

    code = "stored_response_refused"
    assert outcome.is_status(403, mark=Mark.OPENED, code=code)


# What the profile does not protect (limitations.md): were one of these to fail, the
# pages that say so would be wrong.


def _ask(relay: Relay, identity: Identity) -> Outcome:
    with asking(relay, identity.fingerprint, profile="output") as client:
        return client.ask()


def _opened(reply: Reply, pair: ClientKeyPair) -> bytes:
    frame = find_frame(reply.body)
    assert frame is not None
    return Opener(pair, accept=lambda statement: None).open(frame)


def test_limit_relay_reads_prompts(
    open_relay: Relay, identity: Identity, strict_detector: Detector
) -> None:
    assert _ask(open_relay, identity).is_the_truth()

    found = {leak.word for leak in strict_detector.find(open_relay.seen)}
    assert found == {"secret sentence"}


def test_limit_swapped_client_key_reveals_the_answer(
    open_relay: Relay, identity: Identity, detector: Detector
) -> None:
    pair = ClientKeyPair.generate()
    open_relay.move = to_requests(client_key_swapped_for(pair.header_value))

    outcome = _ask(open_relay, identity)

    # The client notices, too late.
    assert outcome.is_refused_with(ForeignResponseError)
    assert detector.find(open_relay.seen) == []
    assert CANARY.content is not None
    assert CANARY.content.encode() in _opened(open_relay.replies[-1], pair)


def test_limit_relay_asks_again_in_its_own_name(
    open_relay: Relay, identity: Identity
) -> None:
    assert _ask(open_relay, identity).is_the_truth()
    pair = ClientKeyPair.generate()
    members = {**open_relay.requests[-1].asked, KEY_MEMBER: pair.header_value}

    reply = open_relay.forward(plainly_asked(members, API_KEY, pair.header_value))

    assert CANARY.content is not None
    assert CANARY.content.encode() in _opened(reply, pair)


def test_limit_relay_dictates_the_answer(open_relay: Relay, identity: Identity) -> None:
    open_relay.move = to_requests(answer_dictated)

    outcome = _ask(open_relay, identity)

    # The pin proves who answered, not what was asked.
    assert (outcome.status, outcome.mark) == (200, Mark.OPENED)
    assert outcome.said == DICTATED


def test_limit_relay_changes_the_question(
    open_relay: Relay, identity: Identity
) -> None:
    open_relay.move = to_requests(question_changed)

    outcome = _ask(open_relay, identity)

    assert (outcome.status, outcome.mark) == (200, Mark.OPENED)
    assert not outcome.is_the_truth()


def test_limit_without_a_pin_the_relay_answers_itself(
    open_relay: Relay, impostor: Impostor
) -> None:
    open_relay.move = lambda relay, request: relay.forward(request, port=impostor.port)

    with asking(open_relay, None, profile="output") as client:
        outcome = client.ask()

    assert outcome.mark is Mark.OPENED
    assert outcome.said == WORDS
    prompt = BY_NAME["canary"].messages[0]["content"]
    assert json.loads(impostor.bodies[0])["messages"][0]["content"] == prompt
