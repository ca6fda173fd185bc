"""What one owner's client may learn of another's: stored responses and cached prompts."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stainedglass_output_protection.client.verdict import Mark
from tests.vllm_integration.attacks.clients import CANARY, Asking, asking
from tests.vllm_integration.attacks.conftest import NothingRuns
from tests.vllm_integration.attacks.relay import Relay, Request
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.servers import MODEL

pytestmark = pytest.mark.vllm

RESPONSES = "/v1/responses"
STORED = {"model": MODEL, "temperature": 0, "max_output_tokens": 60, "store": True}
ENDLESS = {**STORED, "max_output_tokens": 15000, "ignore_eos": True, "temperature": 1}
NOT_FOUND: dict[str, Any] = {"mark": Mark.OPENED, "code": "response_not_found"}
REFUSED: dict[str, Any] = {"mark": Mark.OPENED, "code": "stored_response_refused"}


@pytest.fixture
def owner(relay: Relay, identity: Identity, tmp_path: Path) -> Iterator[Asking]:
    """The client whose responses these are."""
    with asking(relay, identity.fingerprint, owner_file=tmp_path / "owner") as made:
        yield made


@pytest.fixture
def other(relay: Relay, identity: Identity, tmp_path: Path) -> Iterator[Asking]:
    """A client of somebody else with the same API key."""
    with asking(relay, identity.fingerprint, owner_file=tmp_path / "other") as made:
        yield made


@pytest.fixture
def bare(relay: Relay, identity: Identity) -> Iterator[Asking]:
    """A client with a bare key, which the relay could be."""
    with asking(relay, identity.fingerprint, profile="output") as made:
        yield made


def _stored(client: Asking, **members: Any) -> dict[str, Any]:
    question = CANARY.messages[0]["content"]
    outcome = client.send("POST", RESPONSES, {**STORED, "input": question, **members})
    assert (outcome.status, outcome.mark) == (200, Mark.OPENED), outcome
    response: dict[str, Any] = json.loads(outcome.body)
    return response


def test_owner_fetches_and_continues_a_stored_response(
    owner: Asking, relay: Relay
) -> None:
    stored = _stored(owner)

    fetched = owner.send("GET", f"{RESPONSES}/{stored['id']}")
    again = _stored(owner, previous_response_id=stored["id"])

    assert CANARY.content is not None
    assert CANARY.content in fetched.body.decode()
    assert again["previous_response_id"] == stored["id"]
    assert stored["id"].encode() in relay.seen  # It is readable, and of no use.


def test_stored_response_is_not_there_for_anybody_else(
    owner: Asking, other: Asking, bare: Asking, nothing_runs: NothingRuns
) -> None:
    path = f"{RESPONSES}/{_stored(owner)['id']}"
    after = {**STORED, "input": "And then?", "previous_response_id": path[14:]}

    with nothing_runs():
        assert other.send("GET", path).is_status(404, **NOT_FOUND)
        assert other.send("GET", f"{path}?stream=true").is_status(404, **NOT_FOUND)
        assert other.send("POST", f"{path}/cancel").is_status(404, **NOT_FOUND)
        assert other.send("POST", RESPONSES, after).is_status(404, **NOT_FOUND)
        # Of what is not there, and of ids of other forms, nothing else is said.
        for name in ("resp_" + "0" * 64, "resp_1", "chatcmpl-1"):
            gone = other.send("GET", f"{RESPONSES}/{name}")
            assert gone.is_status(404, **NOT_FOUND)
        assert bare.send("GET", path).is_status(403, **REFUSED)
        assert bare.send("POST", f"{path}/cancel").is_status(403, **REFUSED)
        assert bare.send("POST", RESPONSES, after).is_status(403, **REFUSED)
        assert bare.send("POST", RESPONSES, STORED).is_status(403, **REFUSED)


def test_response_in_the_background_is_cancelled_by_its_owner_only(
    owner: Asking, other: Asking, bare: Asking
) -> None:
    # If this program stands still meanwhile, one may have ended before it is cancelled.
    for _ in range(10):
        running = _stored(owner, **{**ENDLESS, "background": True})
        path = f"{RESPONSES}/{running['id']}"
        assert other.send("POST", f"{path}/cancel").is_status(404, **NOT_FOUND)
        assert bare.send("POST", f"{path}/cancel").is_status(403, **REFUSED)
        assert owner.send("GET", path).status == 200
        cancelled = owner.send("POST", f"{path}/cancel")
        if cancelled.status == 200:
            break

    assert json.loads(cancelled.body).get("status") == "cancelled", cancelled


def test_id_that_another_owner_asks_for_is_not_given(
    owner: Asking, other: Asking
) -> None:
    stored = _stored(owner)

    taken = _stored(other, request_id=stored["id"], input="Name a vessel.")

    assert taken["id"] != stored["id"]
    fetched = owner.send("GET", f"{RESPONSES}/{stored['id']}")
    assert (CANARY.content or "").encode() in fetched.body


def test_fetching_sent_to_another_id_or_again_is_refused(
    owner: Asking, relay: Relay
) -> None:
    one, two = _stored(owner)["id"], _stored(owner)["id"]

    def exchanged(relay: Relay, request: Request) -> Any:
        target = request.target.replace(one, two)
        return relay.forward(replace(request, target=target))

    assert owner.send("GET", f"{RESPONSES}/{one}").status == 200
    assert relay.forward(relay.sealed[-1]).status == 425
    relay.move = exchanged
    outcome = owner.send("GET", f"{RESPONSES}/{one}")

    mismatch = "sealed_request_mismatch"
    assert outcome.is_status(400, mark=Mark.OPENED, code=mismatch)


# The prefix cache.


def _prompt(words: str) -> str:
    """Return a prompt that the server has not seen yet."""
    return f"{secrets.token_hex(4)}: {words} "


def _cached_tokens(client: Asking, prompt: str) -> int:
    messages = [{"role": "user", "content": prompt * 80}]
    outcome = client.ask(messages=messages, max_tokens=1)
    assert outcome.status == 200
    usage = json.loads(outcome.body)["usage"]
    details = usage["prompt_tokens_details"] or {}
    assert usage["prompt_tokens"] > 500
    return int(details.get("cached_tokens") or 0)


def test_prompt_is_not_guessed_through_the_prefix_cache(
    owner: Asking, other: Asking, bare: Asking
) -> None:
    prompt = _prompt("the secret sentence is no longer than this")

    assert _cached_tokens(owner, prompt) == 0
    assert _cached_tokens(owner, prompt) > 500
    assert _cached_tokens(other, prompt) == 0
    # In profile output there is no owner; what it asks is cached apart from theirs.
    plain = _prompt("what is asked in the clear is cached in the clear")
    assert _cached_tokens(owner, plain) == 0
    assert _cached_tokens(bare, plain) == 0


def test_owner_lives_in_its_file(
    relay: Relay, identity: Identity, owner: Asking, tmp_path: Path
) -> None:
    prompt = _prompt("the secret sentence outlives its client")
    stored = _stored(owner)
    assert _cached_tokens(owner, prompt) == 0

    path = f"{RESPONSES}/{stored['id']}"
    owner_file = tmp_path / "owner"
    with asking(relay, identity.fingerprint, owner_file=owner_file) as later:
        assert later.send("GET", path).status == 200
        assert _cached_tokens(later, prompt) > 500
    with asking(relay, identity.fingerprint) as without_a_file:
        assert without_a_file.send("GET", path).is_status(404, **NOT_FOUND)


def test_limit_of_profile_output_cached_prompts_are_everybodys(
    open_relay: Relay, identity: Identity
) -> None:
    prompt = _prompt("whoever sees this prompt may ask it too")
    with (
        asking(open_relay, identity.fingerprint, profile="output") as one,
        asking(open_relay, identity.fingerprint, profile="output") as two,
    ):
        assert _cached_tokens(one, prompt) == 0
        assert _cached_tokens(two, prompt) > 500
