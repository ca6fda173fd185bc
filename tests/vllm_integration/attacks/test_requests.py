"""A relay that changes sealed requests, or sends them again."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import openai
import pytest

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.errors import ForeignResponseError
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.vllm_integration.attacks.clients import (
    API_KEY,
    CANARY,
    Asking,
    Outcome,
    asking,
)
from tests.vllm_integration.attacks.conftest import NothingRuns
from tests.vllm_integration.attacks.impostor import WORDS as IMPOSTORS_WORDS
from tests.vllm_integration.attacks.impostor import serving_impostor
from tests.vllm_integration.attacks.relay import Relay, Reply, Request, serving
from tests.vllm_integration.attacks.request_moves import (
    MISMATCHED,
    OF_NO_USE,
    WITHOUT_EFFECT,
    Change,
    client_key_header_added,
    client_key_inside_swapped,
    client_key_member_added,
    plainly_asked,
    text_of,
    to_requests,
)
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.servers import MODEL

pytestmark = pytest.mark.vllm


def name(function: object) -> str:
    return getattr(function, "__name__", "")


@pytest.mark.parametrize("change", WITHOUT_EFFECT, ids=name)
def test_what_stands_beside_the_sealed_message_has_no_effect(
    relay: Relay, client: Asking, identity: Identity, change: Change
) -> None:
    with asking(relay, identity.fingerprint) as other:
        usual = other.ask()
    relay.move = to_requests(change)

    outcome = client.ask()

    assert outcome.is_the_truth()
    # Nor has anything else of the answer changed.
    assert _without_its_name(outcome) == _without_its_name(usual)
    assert b"relay" not in outcome.body


def test_limit_x_request_id_outside_names_the_answer(
    relay: Relay, client: Asking
) -> None:
    """Of the few headers that the engine is shown, the one that can be seen inside."""
    relay.move = to_requests(
        lambda request: request.with_header("x-request-id", "the-relays")
    )

    outcome = client.ask()

    assert outcome.is_the_truth()
    assert json.loads(outcome.body)["id"] == "chatcmpl-the-relays"


@pytest.mark.parametrize("change", MISMATCHED, ids=name)
def test_what_has_to_agree_is_compared(
    relay: Relay, client: Asking, change: Change
) -> None:
    relay.move = to_requests(change)

    outcome = client.ask()

    assert outcome.is_status(400, mark=Mark.OPENED, code="sealed_request_mismatch")


def test_stream_switched_off_is_a_mismatch(relay: Relay, client: Asking) -> None:
    relay.move = to_requests(lambda request: request.with_members(stream=False))

    outcome = client.ask(stream=True)

    assert outcome.is_status(400, mark=Mark.OPENED, code="sealed_request_mismatch")


def test_nothing_runs_for_what_was_changed(
    relay: Relay, client: Asking, nothing_runs: NothingRuns
) -> None:
    with nothing_runs():
        for change in (*MISMATCHED, *OF_NO_USE):
            relay.move = to_requests(change)
            assert client.ask().status == 400


@pytest.mark.parametrize("change", OF_NO_USE, ids=name)
def test_what_does_not_fit_is_opened_for_nobody(
    relay: Relay, client: Asking, change: Change
) -> None:
    relay.move = to_requests(change)

    outcome = client.ask()

    code = OF_NO_USE[change]
    assert outcome.is_status(400, mark=Mark.UNAUTHENTICATED, code=code)


def test_replay_at_once_is_refused(
    relay: Relay, client: Asking, nothing_runs: NothingRuns
) -> None:
    assert client.ask().is_the_truth()

    with nothing_runs():
        again = [relay.forward(relay.sealed[0]) for _ in range(3)]

    assert [reply.status for reply in again] == [425] * 3
    # The code is readable, the words are for the client only.
    assert not [reply for reply in again if b"used already" in reply.body]


def test_replay_under_way_gives_one_answer(relay: Relay, client: Asking) -> None:
    replies: list[Reply] = []

    def sent_four_times_at_once(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return relay.forward(request)
        threads = [
            threading.Thread(target=lambda: replies.append(relay.forward(request)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return min(replies, key=lambda reply: reply.status)

    relay.move = sent_four_times_at_once

    assert client.ask().is_the_truth()
    assert sorted(reply.status for reply in replies) == [200, 425, 425, 425]


def test_answer_to_a_replay_tells_the_client(relay: Relay, client: Asking) -> None:
    def last_of_two(relay: Relay, request: Request) -> Reply:
        relay.forward(request)
        return relay.forward(request)

    relay.move = last_of_two

    outcome = client.ask()

    assert outcome.is_status(425, mark=Mark.OPENED, code="request_replayed")


@pytest.mark.parametrize(
    "change",
    [client_key_header_added, client_key_member_added, client_key_inside_swapped],
    ids=name,
)
def test_replay_with_another_client_key_is_opened_for_nobody(
    relay: Relay, client: Asking, nothing_runs: NothingRuns, change: Change
) -> None:
    assert client.ask().is_the_truth()

    with nothing_runs():
        reply = relay.forward(change(relay.sealed[0]))

    assert reply.status == 400


def test_replay_to_another_route_is_refused(relay: Relay, client: Asking) -> None:
    assert client.ask().is_the_truth()

    for target in ("/v1/completions", "/tokenize", "/v1/chat/completions/render"):
        assert relay.forward(replace(relay.sealed[0], target=target)).status == 400
    assert relay.forward(relay.sealed[0]).status == 425


def test_replay_of_what_an_earlier_life_of_the_server_answered_finds_no_key(
    relay: Relay, client: Asking, identity: Identity, nothing_runs: NothingRuns
) -> None:
    key = IdentityKey.from_pem(identity.path.read_bytes())
    with (
        serving_impostor(key) as earlier,
        serving(Relay(earlier.port)) as before,
        asking(before, identity.fingerprint) as first,
    ):
        assert first.ask().said == IMPOSTORS_WORDS

    with nothing_runs():
        reply = relay.forward(before.sealed[0])

    assert reply.status == 422
    assert b'"code":"key_unknown"' in reply.body
    assert client.ask().is_the_truth()  # The identity is the same.


def test_request_held_back_is_answered_to_its_own_key_only(
    relay: Relay, client: Asking
) -> None:
    held: list[Request] = []

    def exchanged_for_an_earlier_one(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return relay.forward(request)
        held.append(request)
        return Reply(502, (), b"") if len(held) == 1 else relay.forward(held[0])

    relay.move = exchanged_for_an_earlier_one

    assert client.ask().is_status(502, mark=Mark.UNAUTHENTICATED)
    assert client.ask().is_refused_with(ForeignResponseError)


def test_another_clients_request_in_front_is_answered_to_that_one_only(
    relay: Relay, client: Asking, identity: Identity
) -> None:
    def put_in_front(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return relay.forward(request)
        messages = [*held.asked["messages"], *request.asked["messages"]]
        return relay.forward(request.with_members(messages=messages))

    relay.move = held_back
    with asking(relay, identity.fingerprint) as victim:
        assert victim.ask().status == 502
    held = relay.sealed[0]
    relay.move = put_in_front

    assert client.ask().is_refused_with(ForeignResponseError)


def test_message_quoted_to_the_model_is_not_opened_for_who_quotes_it(
    relay: Relay, client: Asking
) -> None:
    relay.move = held_back
    assert client.ask().status == 502
    text = text_of(relay.sealed[0])
    pair = ClientKeyPair.generate()

    # Text that only holds a message is a prompt like another ...
    reply = relay.forward(_quoting(f"Repeat: {text}", pair))
    assert reply.status == 200
    # ... and what begins with it is answered to nobody else.
    reply = relay.forward(_quoting(f"{text} Repeat.", pair))
    assert (reply.status, b"malformed" in reply.body) == (400, True)
    reply = relay.forward(_quoting(text, pair))
    assert (reply.status, b"duplicated" in reply.body) == (400, True)


def test_attempts_are_sealed_afresh(relay: Relay, identity: Identity) -> None:
    def answered_at_the_third(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document or len(relay.sealed) == 3:
            return relay.forward(request)
        return Reply(503, (("retry-after-ms", "1"),), b"{}")

    relay.move = answered_at_the_third
    with openai.OpenAI(
        base_url=f"{relay.url}/v1",
        api_key=API_KEY,
        http_client=protected_client(identity=identity.fingerprint),
        max_retries=2,
    ) as sdk:
        _, body = CANARY.request(MODEL)
        answer = sdk.chat.completions.create(**body)

    assert answer.choices[0].message.content == CANARY.content
    assert len({text_of(request) for request in relay.sealed}) == 3


def test_what_runs_would_have_been_noticed(
    client: Asking, nothing_runs: NothingRuns
) -> None:
    with pytest.raises(AssertionError), nothing_runs():
        assert client.ask().is_the_truth()


def _without_its_name(outcome: Outcome) -> dict[str, Any]:
    named = json.loads(outcome.body)
    return {name: named[name] for name in named if name not in ("id", "created")}


def held_back(relay: Relay, request: Request) -> Reply:
    """Keep what is asked, unspent."""
    if request.is_for_a_document:
        return relay.forward(request)
    return Reply(502, (), b"")


def _quoting(content: str, pair: ClientKeyPair) -> Request:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": content}]}
    return plainly_asked({**asked, "max_tokens": 5}, API_KEY, pair.header_value)
