"""The examples are what Docker, Compose, Kubernetes and Prometheus take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy import rule_manifest
from tests.deploy.examples import (
    COMPOSE,
    DEPLOY,
    KUBERNETES,
    container,
    instructions,
    manifest,
    only,
)
from tests.deploy.promtool import promtool
from tests.deploy.sidecar_example import SIDECAR

# The oldest that is checked, and the newest that the library knows.
VERSIONS = ("1.29", "1.37")
PLAIN_MANIFESTS = sorted([*KUBERNETES.glob("*.yaml"), SIDECAR])
IN_MONITORING = {"pod-monitor.yaml", "prometheus-rule.yaml"}
# docs.docker.com/reference/dockerfile, in the order in which they have to stand.
ORDER = ["ARG", "FROM", "RUN", "RUN", "COPY", "COPY", "RUN"]
ORDER += ["ENV", "WORKDIR", "USER", "EXPOSE", "ENTRYPOINT"]


def loaded(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def check_compose(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", str(path)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_there_are_manifests() -> None:
    assert len(PLAIN_MANIFESTS) == 4
    assert {it.name for it in (KUBERNETES / "monitoring").iterdir()} == IN_MONITORING


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", PLAIN_MANIFESTS, ids=lambda it: it.name)
def test_kubernetes_takes_the_manifests(path: Path, version: str) -> None:
    for item in loaded(path):
        kubernetes_validate.validate(item, version, strict=True)


def test_the_schema_finds_a_misspelt_probe() -> None:
    deployment = manifest("Deployment")
    (only_one,) = deployment["spec"]["template"]["spec"]["containers"]
    only_one["readinessProb"] = only_one.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError, match="readinessProb"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_compose_takes_the_compose_file() -> None:
    done = check_compose(COMPOSE)
    assert done.returncode == 0, done.stdout


def test_the_schema_finds_a_misspelt_member(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(COMPOSE.read_text().replace("read_only", "readonly"))
    done = check_compose(path)
    assert done.returncode == 1
    assert "readonly" in done.stdout


def test_the_dockerfile_does_what_it_has_to_and_nothing_else() -> None:
    assert [it.name for it in instructions()] == ORDER
    assert only("ENTRYPOINT") == '["sg-vllm", "serve"]'
    # A number: Kubernetes cannot tell by a name that it is not root.
    user, group = only("USER").split(":")
    assert int(user) > 0
    assert int(group) == 0
    installed = [it.value for it in instructions() if "install" in it.value]
    assert len(installed) == 1
    assert "[server]" in installed[0]


def test_prometheus_takes_its_configuration() -> None:
    said = promtool("check", "config", DEPLOY / "prometheus.yml")
    assert "1 rule files found" in said
    # The rules lie beside it in the container, too.
    mounted = [
        item.split(":")
        for item in loaded(COMPOSE)[0]["services"]["prometheus"]["volumes"]
        if item.startswith("./")
    ]
    assert {Path(target).parent for _, target, _ in mounted} == {
        Path("/etc/prometheus")
    }
    for source, target, mode in mounted:
        assert (DEPLOY / source).is_file()
        assert Path(source).name == Path(target).name
        assert mode == "ro"


def test_the_operator_s_rules_are_the_same_rules() -> None:
    text = rule_manifest.MANIFEST.read_text(encoding="utf-8")
    assert text == rule_manifest.made(), "python -m tests.deploy.rule_manifest"
    (rules,) = loaded(rule_manifest.RULES)
    assert manifest("PrometheusRule")["spec"] == rules


def test_the_pod_monitor_asks_the_replicas_port() -> None:
    # Its schema is the operator's own, so each member that is used stands here.
    found = manifest("PodMonitor")
    assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
    assert found["apiVersion"] == "monitoring.coreos.com/v1"
    assert set(found["spec"]) == {"selector", "podMetricsEndpoints"}
    (endpoint,) = found["spec"]["podMetricsEndpoints"]
    assert set(endpoint) == {"port", "path", "interval"}
    assert endpoint["path"] == "/metrics"
    assert endpoint["port"] in {it["name"] for it in container()["ports"]}
