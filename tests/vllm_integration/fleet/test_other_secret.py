"""A fleet in which one replica has another secret: real vLLM behind the real router.

Its identity is that of the others, as it is where somebody has copied one file and made
the other anew. What clients, the network and the operator see of it, and that all go on.
"""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from stainedglass_output_protection.client.verdict import EXTENSION, Mark
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.attacks.relay import Relay, serving
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.fleet.conftest import MakeClient
from tests.vllm_integration.fleet.crowd import count_by_error, crowd_at
from tests.vllm_integration.fleet.replicas import Answered, Watch
from tests.vllm_integration.fleet.router import Router, routing
from tests.vllm_integration.fleet.two_secrets import (
    Told,
    TwoSecrets,
    doctor,
    epochs_of,
)
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import MODEL, Server
from tests.vllm_integration.test_sdk import Said

pytestmark = pytest.mark.vllm

# Kinds of answers in turn, by fives as streams and whole.
REQUESTS = 20
AT_ONCE = 60
CANARY = BY_NAME["canary"]
READY = "/.well-known/output-protection/ready"


@pytest.fixture(scope="module")
def two(
    replicas: tuple[Server, Server], late: Server, folder: Path
) -> Iterator[TwoSecrets]:
    """One replica of each fleet behind one router."""
    ours = replicas[0]
    with (
        routing("router, two secrets", folder, ours.url, late.url) as router,
        serving(Relay(router.port)) as relay,
    ):
        yield TwoSecrets((ours, late), router, relay)
    # No module after this one asks for it: what it takes of the machine is wanted.
    late.end()


@pytest.fixture(scope="module")
def sealed(two: TwoSecrets, identity: Identity) -> Told:
    """What a client in profile sealed was told."""
    return two.ask(REQUESTS, identity=identity.fingerprint, profile="sealed")


@pytest.fixture(scope="module")
def output(two: TwoSecrets, identity: Identity) -> Told:
    """What a client in profile output was told."""
    return two.ask(REQUESTS, identity=identity.fingerprint, profile="output")


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


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_doctor_names_it(two: TwoSecrets, identity: Identity, profile: str) -> None:
    status, report = doctor(
        two.router.url, identity=identity.fingerprint, profile=profile
    )

    outcomes = {it["name"]: it["outcome"] for it in report["checks"]}
    # In profile output answers come all the same.
    outcome = outcomes.pop("replicas")
    assert outcome == ("fault" if profile == "sealed" else "warning")
    assert "fault" not in outcomes.values()
    (row,) = [it for it in report["checks"] if it["name"] == "replicas"]
    assert "reached another one, which does not have it" in row["seen"]
    assert "SG_IDENTITY_KEY_FILE and SG_FLEET_SECRET_FILE" in row["advice"]
    assert status == (outcome == "fault")
    if profile == "sealed":
        said = "Profile sealed does not work here: A request that was sealed to one "
        assert report["summary"].startswith(said)


def test_doctor_finds_the_fleet_of_one_secret_well(
    router: Router, identity: Identity
) -> None:
    status, report = doctor(router.url, identity=identity.fingerprint, profile="sealed")

    assert status == 0
    outcomes = {it["name"]: it["outcome"] for it in report["checks"]}
    assert outcomes["replicas"] == "ok"


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
