"""API keys: inside of a sealed request, outside of it, wrong, and none."""

from __future__ import annotations

import pytest

from stainedglass_output_protection.client.verdict import Mark
from tests.vllm_integration.attacks.clients import API_KEY, Asking, asking
from tests.vllm_integration.attacks.conftest import NothingRuns
from tests.vllm_integration.attacks.relay import Relay, Reply, Request
from tests.vllm_integration.attacks.request_moves import (
    PREFIX,
    to_requests,
    with_text,
)
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import MODEL_PATH

pytestmark = pytest.mark.vllm

WRONG = "Grundelwump-is-wrong"
BOGUS = PREFIX + "AAAA"


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
def test_relay_never_sees_the_api_key_that_is_sealed(
    relay: Relay, identity: Identity, stream: bool
) -> None:
    with asking(relay, identity.fingerprint, seal_authorization=True) as client:
        assert client.ask(stream=stream).is_the_truth()
        assert client.ask(stream=stream).is_the_truth()

    assert Detector(MODEL_PATH, [API_KEY, "Kwibbelthorn"]).find(relay.seen) == []
    assert b"uthorization" not in relay.seen


def test_api_key_that_is_not_sealed_would_have_been_found(
    relay: Relay, client: Asking
) -> None:
    assert client.ask().is_the_truth()

    assert Detector(MODEL_PATH, [API_KEY]).find(relay.seen)


def test_wrong_api_key_inside_is_401(
    relay: Relay, identity: Identity, nothing_runs: NothingRuns
) -> None:
    with (
        nothing_runs(),
        asking(
            relay, identity.fingerprint, api_key=WRONG, seal_authorization=True
        ) as client,
    ):
        outcome = client.ask()

    assert outcome.is_status(401, mark=Mark.UNAUTHENTICATED)
    assert Detector(MODEL_PATH, [WRONG]).find(relay.seen) == []


def test_wrong_api_key_outside_is_401_before_any_key_work(
    relay: Relay, identity: Identity, nothing_runs: NothingRuns
) -> None:
    with nothing_runs(), asking(relay, identity.fingerprint, api_key=WRONG) as client:
        assert client.ask().is_status(401, mark=Mark.UNAUTHENTICATED)
        sealed = relay.sealed[0]
        # Whoever had looked at what this one holds would have said 400.
        bogus = with_text(sealed, BOGUS)
        assert relay.forward(bogus).status == 401
        assert relay.forward(_in_a_header(bogus)).status == 401

    assert _with_key(relay, bogus, API_KEY).status == 400
    assert _with_key(relay, bogus, None).status == 400
    # The 401 has not used up the message that it refused.
    assert _with_key(relay, sealed, API_KEY).status == 200


def test_wrong_api_key_added_outside_is_not_outvoted_by_the_one_inside(
    relay: Relay, identity: Identity, nothing_runs: NothingRuns
) -> None:
    relay.move = to_requests(
        lambda request: request.with_header("authorization", f"Bearer {WRONG}")
    )
    with (
        nothing_runs(),
        asking(relay, identity.fingerprint, seal_authorization=True) as client,
    ):
        assert client.ask().is_status(401, mark=Mark.UNAUTHENTICATED)


def test_no_api_key_at_all_is_401(
    relay: Relay, client: Asking, nothing_runs: NothingRuns
) -> None:
    relay.move = to_requests(lambda request: request.with_header("authorization", None))

    with nothing_runs():
        assert client.ask().is_status(401, mark=Mark.UNAUTHENTICATED)


def _with_key(relay: Relay, request: Request, api_key: str | None) -> Reply:
    value = None if api_key is None else f"Bearer {api_key}"
    return relay.forward(request.with_header("authorization", value))


def _in_a_header(request: Request) -> Request:
    return request.with_header("x-sealed-request", BOGUS)
