"""What the examples run, run as a plain process: their command, variables and probes.

One replica of a fleet, started as compose file and manifests say, and the compose file's
router before it. The tests run in their order: the last one ends the replica.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.hosting.fleet import read_fleet_file
from stainedglass_output_protection.protocol.constants import MAX_AHEAD_MS
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.fleet_epochs import FleetEpochs
from stainedglass_output_protection.server.key_ring import KeyRing
from tests.deploy.examples import (
    OWN_FOLDERS,
    compose,
    compose_command,
    kubernetes_command,
    pod,
)
from tests.deploy.promtool import promtool
from tests.deploy.replica import ON_A_CPU, Probes, begin
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.servers import (
    MODEL,
    MODEL_OPTIONS,
    MODEL_PATH,
    QUICK,
    Server,
    free_port,
    tail,
    wait_for,
)

pytestmark = pytest.mark.vllm

READY = "/.well-known/output-protection/ready"
START_LIMIT_S = 500.0
TIMEOUT_S = 120.0
# A few seconds of work for the engine: the signal comes in the middle of it.
LONG = {"max_tokens": 2000, "ignore_eos": True, "temperature": 1, "stream": True}


@dataclass
class Replica:
    """A running replica, with what its probes have said since it was started."""

    server: Server
    probes: Probes
    identity: str
    ready_after_s: float


@pytest.fixture(scope="module")
def replica(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """The replica, from its start until it is ready."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("no vLLM is installed: scripts/setup installs one")
    command = compose_command(model=str(MODEL_PATH)).below(keys)
    # What test_examples.py shows, too: this is Kubernetes' replica as well.
    theirs = kubernetes_command(model=str(MODEL_PATH)).below(keys)
    assert command.arguments == theirs.arguments
    assert not [it for it in command.variables.values() if it.startswith(OWN_FOLDERS)]
    port = free_port()
    log_path = tmp_path_factory.mktemp("replica") / "replica.log"
    began = time.monotonic()
    process = begin(
        (
            *(*command.arguments, *MODEL_OPTIONS, *QUICK),
            *("--host", "127.0.0.1", "--port", str(port)),
        ),
        {**command.variables, **ON_A_CPU},
        log_path,
    )
    server, probes = Server(port, process, log_path), Probes(command, port)

    def is_ready() -> bool:
        assert process.poll() is None, tail(log_path)
        return probes.ask()

    try:
        wait_for(is_ready, "every probe", START_LIMIT_S)
        took_s = time.monotonic() - began
        found = re.search(r"SG_SERVER_IDENTITY=(SHA256:\S+)", server.log)
        assert found
        yield Replica(server, probes, found[1], took_s)
    finally:
        server.end()


@pytest.fixture(scope="module")
def router(replica: Replica, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The compose file's router, whose replicas are both this one; its URL."""
    service = compose()["services"]["router"]
    assert 'ENTRYPOINT ["vllm-router"]' in service["build"]["dockerfile_inline"]
    arguments = [
        re.sub(r"http://replica-\d:8000", replica.server.url, it)
        for it in service["command"]
    ]
    port = free_port()
    # After --worker-urls whatever comes would be one more.
    ours = ("--host", "127.0.0.1", "--port", str(port), "--prometheus-port")
    log_path = tmp_path_factory.mktemp("router") / "router.log"
    process = begin(["vllm-router", *arguments, *ours, str(free_port())], {}, log_path)
    server = Server(port, process, log_path)

    def is_up() -> bool:
        assert process.poll() is None, tail(log_path)
        with contextlib.suppress(httpx2.TransportError):
            return httpx2.get(f"{server.url}/health", timeout=30).status_code == 200
        return False

    try:
        wait_for(is_up, "the router", START_LIMIT_S)
        yield server.url
    finally:
        server.end()


def test_every_probe_fails_first_and_then_succeeds(replica: Replica) -> None:
    assert set(replica.probes.said) == {"startup", "liveness", "readiness", "compose"}
    for name, said in replica.probes.said.items():
        assert said[0] is False, name
        assert said[-1] is True, name
    # Of a fleet, so not before requests of an earlier process are too old.
    assert replica.ready_after_s > MAX_AHEAD_MS / 1000
    url = f"{replica.server.url}{READY}"
    assert httpx2.get(url, timeout=TIMEOUT_S).json()["mode"] == "fleet"


def test_a_protected_request_comes_through_the_router(
    replica: Replica, router: str
) -> None:
    path, body = BY_NAME["canary"].request(MODEL)
    with protected_client(
        identity=replica.identity, base_url=router, timeout=TIMEOUT_S
    ) as client:
        answer = client.post(path, json=body)
    assert answer.status_code == 200
    assert answer.extensions["output_protection"].mark is Mark.OPENED
    said = answer.json()["choices"][0]["message"]["content"]
    assert said == BY_NAME["canary"].content


def test_what_is_not_sealed_is_refused(replica: Replica, router: str) -> None:
    path, body = BY_NAME["canary"].request(MODEL)
    answer = httpx2.post(f"{router}{path}", json=body, timeout=TIMEOUT_S)
    assert answer.status_code == 400
    assert str(BY_NAME["canary"].content) not in answer.text


def test_probes_are_not_in_the_access_log(replica: Replica) -> None:
    answered = re.findall(r'"(?:GET|POST) (\S+) HTTP/1\.1" \d+', replica.server.log)
    assert answered
    assert not {"/health", READY} & set(answered)


def test_prometheus_takes_what_the_replica_serves(replica: Replica) -> None:
    answer = httpx2.get(f"{replica.server.url}/metrics", timeout=TIMEOUT_S)
    ours = [
        line
        for line in answer.text.splitlines()
        if re.match(r"(?:# (?:HELP|TYPE) )?output_protection_", line)
    ]
    assert any(line.startswith("output_protection_requests_total{") for line in ours)
    promtool("check", "metrics", given="\n".join([*ours, ""]).encode())


def test_a_signal_changes_no_key_of_a_fleet_and_says_what_to_run(
    replica: Replica,
) -> None:
    variables = replica.probes.command.variables
    secret_file = Path(variables["SG_FLEET_SECRET_FILE"])
    identity = IdentityKey.from_pem(
        Path(variables["SG_IDENTITY_KEY_FILE"]).read_bytes()
    )
    peer = KeyRing(identity, FleetEpochs(read_fleet_file(secret_file).fleet, unix_ms()))
    advice = f"run: sg-vllm keys advance {secret_file}"
    assert advice not in replica.server.log

    replica.server.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: advice in replica.server.log, "the advice", 60)

    path, body = BY_NAME["canary"].request(MODEL)
    with protected_client(
        identity=replica.identity, base_url=replica.server.url, timeout=TIMEOUT_S
    ) as client:
        assert client.post(path, json=body).status_code == 200
    # Its key is the one that the file has for this hour: the clock may go on meanwhile.
    allowed = {_key_id_of(peer)}
    state = httpx2.get(f"{replica.server.url}{READY}", timeout=TIMEOUT_S).json()
    allowed.add(_key_id_of(peer))
    assert (state["ready"], state["mode"]) == (True, "fleet")
    assert state["key_id"] in allowed
    assert replica.server.log.count(advice) == 1
    assert "new epoch keys" not in replica.server.log


def _key_id_of(ring: KeyRing) -> str:
    ring.tick(unix_ms())
    return ring.current(unix_ms()).key_id_hex


def test_a_running_answer_ends_whole_when_the_replica_is_stopped(
    replica: Replica,
) -> None:
    path, body = BY_NAME["story"].request(MODEL)
    process = replica.server.process
    with (
        protected_client(
            identity=replica.identity,
            base_url=replica.server.url,
            timeout=TIMEOUT_S,
        ) as client,
        client.stream("POST", path, json={**body, **LONG}) as answer,
    ):
        pieces = answer.iter_bytes()
        first = next(pieces)
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: not replica.probes.readiness(), "readiness to fail", 60)
        whole = first + b"".join(pieces)
    assert whole.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"length"' in whole
    assert process.wait(pod()["terminationGracePeriodSeconds"]) == 0
