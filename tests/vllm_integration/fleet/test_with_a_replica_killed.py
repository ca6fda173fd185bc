"""A thousand requests to two replicas, of which one is killed and started again.

It is the last of this folder: the replica that the others share is another one then.
"""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stainedglass_output_protection.client.verdict import Mark
from tests.vllm_integration.conftest import Identity, Say
from tests.vllm_integration.fleet.conftest import MakeClient, Starting
from tests.vllm_integration.fleet.crowd import (
    CLIENTS,
    Crowd,
    count_by_error,
    crowd_at,
)
from tests.vllm_integration.fleet.replicas import Watch
from tests.vllm_integration.fleet.router import Router, routing
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import Server, launch, tail, wait_for

pytestmark = pytest.mark.vllm

REQUESTS = 1000
BEFORE, AROUND, WITHOUT = 300, 200, 200
STORIES = 8
_RESTART_LIMIT_S = 500.0
# Looks at its workers often, and gives one up, and takes it back, soon.
_ATTENTIVE = (
    *("--health-check-interval-secs", "1", "--health-check-timeout-secs", "30"),
    *("--cb-failure-threshold", "3", "--cb-timeout-duration-secs", "2"),
    *("--retry-max-retries", "10"),
)


def test_no_answer_is_wrong_while_a_replica_is_killed_and_restarted(
    starting: Starting,
    replicas: tuple[Server, Server],
    folder: Path,
    identity: Identity,
    detector: Detector,
    make_client: MakeClient,
    say: Say,
) -> None:
    urls = [server.url for server in replicas]
    with (
        routing("router, one killed", folder, *urls, options=_ATTENTIVE) as router,
        crowd_at(router.url, make_client) as crowd,
    ):
        crowd.ask(BEFORE)
        killed_at = _kill_amid(crowd, replicas[1])
        _launch_again(replicas[1], folder, starting.variables)
        crowd.ask(WITHOUT)
        _wait_until_taken_back(replicas[1], router)
        watch = Watch(replicas)
        crowd.ask(REQUESTS - len(crowd.asked))
        metrics, log = router.metrics_text(), router.log

    failed = [it for it in crowd.asked if it.error is not None]
    say(f"killed in {REQUESTS} requests: {count_by_error(failed)}")
    assert len(crowd.asked) == REQUESTS
    # Neither wrong, nor a part of it taken for the whole.
    assert [it for it in crowd.asked if it.error is None and not it.is_right] == []
    assert [it for it in failed if it.began > killed_at] == []
    # What the dead one had begun to answer is cut: of each client at most one. The router
    # asks again for what has no answer yet.
    assert len(failed) <= CLIENTS
    assert {it.mark for it in crowd.verdicts} <= {Mark.OPENED, Mark.UNAUTHENTICATED}
    assert len({it.key_id for it in crowd.verdicts if it.key_id}) > 2
    # Both answer again.
    assert all(
        any(line.status == 200 and line.method == "POST" for line in answered)
        for answered in watch.by_replica()
    )
    assert "vllm_router_requests_total" in metrics
    assert detector.find(log.encode()) == []
    assert detector.find(metrics.encode()) == []


def _kill_amid(crowd: Crowd, server: Server) -> float:
    """Kill a server while it is asked, and return when it was dead."""
    before = len(crowd.asked)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(crowd.ask, AROUND, stories=STORIES)
        wait_for(lambda: len(crowd.asked) > before + 30, "answers", 300)
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        killed_at = time.monotonic()
        asking.result()
    return killed_at


def _launch_again(server: Server, folder: Path, variables: dict[str, str]) -> None:
    """Start it as it was started before, at the same port."""
    assert isinstance(server.process.args, list)
    command = [str(it) for it in server.process.args[2:]]
    process, log_path = launch(
        f"{server.log_path.stem}, again", command, folder, variables
    )
    server.process, server.log_path = process, log_path


def _wait_until_taken_back(server: Server, router: Router) -> None:
    def is_up() -> bool:
        assert server.process.poll() is None, tail(server.log_path)
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=30):
                return True
        except OSError:
            return False

    wait_for(is_up, "the replica", _RESTART_LIMIT_S)
    # Its breaker closes only by requests.
    wait_for(router.sees_all, "the router to take it back", _RESTART_LIMIT_S)
