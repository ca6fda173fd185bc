"""Each replica goes on for its own clients, and so does the fleet of one secret."""

from __future__ import annotations

import urllib.request

import pytest

from stainedglass_output_protection.client.verdict import EXTENSION, Mark
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.fleet.conftest import MakeClient
from tests.vllm_integration.fleet.crowd import crowd_at
from tests.vllm_integration.fleet.replicas import Answered, Watch
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.fleet.test_other_secret.two_secrets import (
    REQUESTS,
    TwoSecrets,
)
from tests.vllm_integration.servers import MODEL

pytestmark = pytest.mark.vllm

CANARY = BY_NAME["canary"]
READY = "/.well-known/output-protection/ready"


def test_each_replica_goes_on_for_its_own_clients(
    two: TwoSecrets, make_client: MakeClient
) -> None:
    path, body = CANARY.request(MODEL)
    watch = Watch(two.replicas)
    for server in two.replicas:
        urllib.request.urlopen(server.url + READY, timeout=TIMEOUT_S).close()
        answer = make_client(base_url=server.url).post(path, json=body)
        assert answer.status_code == 200
        assert answer.extensions[EXTENSION].mark is Mark.OPENED
        assert answer.json()["choices"][0]["message"]["content"] == CANARY.content

    assert watch.posts() == {Answered("POST", path, 200): len(two.replicas)}
    # No router takes a replica out of service for it.
    assert two.router.troubles() == {}


def test_the_fleet_of_one_secret_goes_on_at_the_first_try(
    two: TwoSecrets, router: Router, watch: Watch, make_client: MakeClient
) -> None:
    with crowd_at(router.url, make_client) as crowd:
        crowd.ask(REQUESTS)

    assert all(it.is_right for it in crowd.asked)
    assert {it.mark for it in crowd.verdicts} == {Mark.OPENED}
    assert {line.status for line in watch.posts()} == {200}
    assert sum(watch.posts().values()) == len(crowd.asked) == REQUESTS
    assert router.troubles() == {}
