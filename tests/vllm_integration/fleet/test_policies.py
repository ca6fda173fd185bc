"""Real replicas behind the router's other policies, its default among them.

``cache_aware`` asks each replica first for the tokens of a prompt, with the same body.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from stainedglass_output_protection.client.verdict import Mark
from tests.vllm_integration.fleet.conftest import MakeClient
from tests.vllm_integration.fleet.crowd import count_by_error, crowd_at
from tests.vllm_integration.fleet.router import routing
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import Server

pytestmark = pytest.mark.vllm

REQUESTS = 60


@pytest.mark.parametrize("policy", ["consistent_hash", "cache_aware"])
def test_mixed_requests_open(
    replicas: tuple[Server, Server],
    folder: Path,
    detector: Detector,
    make_client: MakeClient,
    policy: str,
) -> None:
    urls = [server.url for server in replicas]
    with (
        routing(f"router, {policy}", folder, *urls, policy=policy) as router,
        crowd_at(router.url, make_client) as crowd,
    ):
        crowd.ask(REQUESTS)
        troubles, kept = router.troubles(), router.log + router.metrics_text()

    assert count_by_error(crowd.asked) == {}
    assert all(it.is_right for it in crowd.asked)
    assert len(crowd.asked) == len(crowd.verdicts) == REQUESTS
    assert {it.mark for it in crowd.verdicts} == {Mark.OPENED}
    assert troubles == {}
    assert detector.find(kept.encode()) == []
