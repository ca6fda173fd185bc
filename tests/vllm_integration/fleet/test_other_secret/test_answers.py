"""What clients are told, and what is seen on the way, where one has another secret."""

from __future__ import annotations

from collections import Counter

import openai
import pytest

from stainedglass_output_protection.client.verdict import Mark
from tests.vllm_integration.fleet.conftest import MakeClient
from tests.vllm_integration.fleet.crowd import count_by_error, crowd_at
from tests.vllm_integration.fleet.test_other_secret.two_secrets import (
    REQUESTS,
    Told,
    TwoSecrets,
)
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.test_sdk import Said

pytestmark = pytest.mark.vllm

AT_ONCE = 60


def test_sealed_answers_are_right_or_the_error_that_names_the_secret(
    sealed: Told,
) -> None:
    assert len(sealed.right) + len(sealed.refused) == REQUESTS
    for asked in (sealed.right, sealed.refused):
        assert {it.is_stream for it in asked} == {True, False}
    for it in sealed.refused:
        assert type(it.error) is openai.UnprocessableEntityError
        assert it.error.code == "key_unknown"
        assert "do not share their keys" in it.error.message
        assert "SG_FLEET_SECRET_FILE" in it.error.message
        assert it.said == Said()
    assert sealed.marks == {
        Mark.OPENED: len(sealed.right),
        Mark.UNAUTHENTICATED: len(sealed.refused),
    }


def test_what_was_refused_is_sealed_again_at_most_once_and_has_run_nowhere(
    sealed: Told,
) -> None:
    statuses = sum(sealed.statuses(), Counter[int]())
    assert set(statuses) == {200, 422}
    assert statuses[200] == len(sealed.right)
    # Neither the SDK nor the router sends it once more.
    assert statuses[422] <= 2 * len(sealed.refused) + len(sealed.right)
    assert sum(statuses.values()) == sealed.on_the_wire <= 2 * REQUESTS
    assert sum(it.ran for it in sealed.noted) == len(sealed.right)


def test_in_profile_output_all_answers_are_right(output: Told) -> None:
    assert len(output.right) == REQUESTS
    assert output.marks == {Mark.OPENED: REQUESTS}
    ours, late = output.statuses()
    assert set(ours) == set(late) == {200}
    assert ours[200] + late[200] == output.on_the_wire == REQUESTS


def test_many_clients_at_once_get_nothing_else(
    two: TwoSecrets, make_client: MakeClient
) -> None:
    with crowd_at(two.relay.url, make_client) as crowd:
        crowd.ask(AT_ONCE)

    count = count_by_error(crowd.asked)
    assert set(count) <= {"UnprocessableEntityError"}
    assert sum(it.is_right for it in crowd.asked) == AT_ONCE - sum(count.values())
    refused = [it for it in crowd.asked if it.error is not None]
    assert {getattr(it.error, "code", None) for it in refused} <= {"key_unknown"}
    assert all(it.said == Said() for it in refused)


def test_nothing_on_the_way_can_be_read(
    two: TwoSecrets, sealed: Told, output: Told, detector: Detector
) -> None:
    assert len(two.relay.sealed) >= sealed.on_the_wire + output.on_the_wire
    kept = two.router.log + two.router.metrics_text()
    assert detector.find(two.relay.seen + kept.encode()) == []
    logs = "".join(server.log for server in two.replicas)
    assert detector.find(logs.encode()) == []
