"""What logs and metrics tell an operator of a replica with another secret."""

from __future__ import annotations

import pytest

from tests.vllm_integration.fleet.test_other_secret.noted import epochs_of
from tests.vllm_integration.fleet.test_other_secret.two_secrets import Told, TwoSecrets
from tests.vllm_integration.servers import Server

pytestmark = pytest.mark.vllm


def test_logs_and_metrics_of_the_replicas_say_how_many_were_refused_and_why(
    sealed: Told, output: Told
) -> None:
    refused = [it.refused for it in sealed.noted]
    assert refused == [it[422] for it in sealed.statuses()]
    assert refused == [it.lines for it in sealed.noted]
    assert sum(refused) > 0
    assert [(it.refused, it.lines) for it in output.noted] == [(0, 0), (0, 0)]


def test_the_alert_on_keys_that_differ_sees_both_of_its_signs(
    two: TwoSecrets, replicas: tuple[Server, Server], sealed: Told
) -> None:
    refused = sum(it.refused for it in sealed.noted)
    assert refused > 0.05 * sum(it.requests for it in sealed.noted)
    # The epochs of one secret begin at the same times.
    ours, late = map(epochs_of, two.replicas)
    assert ours == epochs_of(replicas[1])
    assert ours != late
