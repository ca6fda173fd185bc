"""The sidecar's image and manifests fit together, and leave no way around the sidecar."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tomllib

from stainedglass_output_protection import __version__
from stainedglass_output_protection.apps.sidecar.readiness import HEALTH_S
from stainedglass_output_protection.hosting.settings import (
    load_settings,
    setting_warnings,
)
from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.server.readiness import READY_PATH
from tests.deploy import examples
from tests.deploy.sidecar_example import (
    SIDECAR_DOCKERFILE,
    container,
    engine,
    manifest,
    pod,
    sidecar_command,
)

# Computing from the base epoch to now, on a file that was never moved on.
CATCH_UP_S = 30
# docs.docker.com/reference/dockerfile, in the order in which they have to stand.
ORDER = ["FROM", "RUN", "COPY", "COPY", "RUN", "WORKDIR", "USER", "EXPOSE"]
ORDER += ["ENTRYPOINT"]


def test_the_dockerfile_does_what_it_has_to_and_nothing_else() -> None:
    steps = examples.instructions(SIDECAR_DOCKERFILE)
    assert [it.name for it in steps] == ORDER
    assert examples.only("ENTRYPOINT", SIDECAR_DOCKERFILE) == '["sg-vllm", "sidecar"]'
    # A number: Kubernetes cannot tell by a name that it is not root.
    user, group = examples.only("USER", SIDECAR_DOCKERFILE).split(":")
    assert int(user) == pod()["securityContext"]["runAsUser"] > 0
    assert int(group) == 0
    (installed,) = (it.value for it in steps if "install" in it.value)
    text = (examples.DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8")
    known = tomllib.loads(text)["project"]["optional-dependencies"]
    assert "'/src[cli,server]'" in installed
    assert {"cli", "server"} <= set(known)
    assert container()["image"].endswith(f"/sg-sidecar:{__version__}")


def test_the_settings_are_settings(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [it for it in os.environ if it.startswith("SG_TEST_")]:
        monkeypatch.delenv(name)
    for name, value in sidecar_command().below(keys).variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings().require_sealed_requests
    assert load_settings().fleet_secret_file
    assert list(setting_warnings()) == []


def test_only_the_sidecar_leads_to_the_engine() -> None:
    upstream = urlsplit(sidecar_command().option("--upstream"))
    arguments = engine()["args"]
    listens = arguments[arguments.index("--host") + 1]
    assert listens == upstream.hostname == "127.0.0.1"
    assert int(arguments[arguments.index("--port") + 1]) == upstream.port
    assert "ports" not in engine()
    assert "hostNetwork" not in pod()
    assert "shareProcessNamespace" not in pod()
    assert sidecar_command().option("--host") == "0.0.0.0"
    port = int(sidecar_command().option("--port"))
    assert container()["ports"] == [{"name": "http", "containerPort": port}]
    assert examples.only("EXPOSE", SIDECAR_DOCKERFILE) == str(port)
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("Service")["spec"]["ports"] == [
        {"name": "http", "port": port, "targetPort": "http"}
    ]
    # The other example's Service finds no pod of this one.
    assert examples.manifest("Service")["spec"]["selector"] != labels


def test_the_sidecar_alone_has_the_keys() -> None:
    ours, theirs = (
        {it["name"]: it for it in mounting["volumeMounts"]}
        for mounting in (container(), engine())
    )
    assert ours["keys"] == {"name": "keys", "mountPath": "/keys", "readOnly": True}
    assert "keys" not in theirs
    kinds = {it["name"]: it for it in pod()["volumes"]}
    assert set(kinds) == {*ours, *theirs}
    # The Secret that docs/operating.md makes, for both.
    (replicas,) = (it for it in examples.pod()["volumes"] if it["name"] == "keys")
    assert kinds["keys"] == replicas


def test_containers_have_no_more_rights_than_they_need() -> None:
    assert pod()["securityContext"] == examples.pod()["securityContext"]
    inside = container()["securityContext"]
    assert inside == examples.container()["securityContext"]
    # What an engine writes to, nobody knows.
    assert engine()["securityContext"] == {
        name: it for name, it in inside.items() if name != "readOnlyRootFilesystem"
    }
    assert pod()["enableServiceLinks"] is False
    assert pod()["automountServiceAccountToken"] is False


def test_running_answers_may_end_before_the_engine_does() -> None:
    # So it is ended after the sidecar, and runs as long.
    assert engine()["restartPolicy"] == "Always"
    program, waited = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    answering = int(waited) + int(sidecar_command().option("--grace"))
    assert pod()["terminationGracePeriodSeconds"] >= answering + 20


def test_probes_ask_what_they_are_meant_to() -> None:
    probes = {name: container()[f"{name}Probe"] for name in PROBES}
    assert {name: it["httpGet"]["path"] for name, it in probes.items()} == PROBES
    assert {it["httpGet"]["port"] for it in probes.values()} == {"http"}
    # The engine's silence is told as such, not as a probe without an answer.
    assert probes["readiness"]["timeoutSeconds"] > HEALTH_S
    startup, liveness = probes["startup"], probes["liveness"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 2 * CATCH_UP_S
    # A busy sidecar is not a dead one.
    assert liveness["timeoutSeconds"] >= 10
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60
    # Kubernetes' probes cannot reach it.
    assert not [name for name in engine() if name.endswith("Probe")]


PROBES = {"startup": DOCUMENT_PATH, "liveness": DOCUMENT_PATH, "readiness": READY_PATH}
