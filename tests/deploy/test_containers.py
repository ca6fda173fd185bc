"""What the examples' containers hold, may do and write to; and where the keys come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from stainedglass_output_protection.hosting.environment import (
    FLEET_VARIABLE,
    IDENTITY_VARIABLE,
)
from stainedglass_output_protection.server.fleet_secret import MAGIC
from tests.deploy.examples import (
    COMPOSE,
    DEPLOY,
    DOCKERFILE,
    KUBERNETES,
    MANIFESTS,
    compose,
    compose_command,
    container,
    instructions,
    only,
    pod,
)
from tests.deploy.sidecar_example import SIDECAR, SIDECAR_DOCKERFILE

ROOT = DEPLOY.parent
REPLICAS = ("replica-0", "replica-1")
DOCKERFILES = (DOCKERFILE, SIDECAR_DOCKERFILE)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda it: it.parent.name)
def test_the_image_takes_in_the_package_and_nothing_else(dockerfile: Path) -> None:
    ignored = dockerfile.with_name("Dockerfile.dockerignore")
    lines = ignored.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = [
        it.value.split()[:-1] for it in instructions(dockerfile) if it.name == "COPY"
    ]
    assert let_in == {source for sources in copied for source in sources}
    # hatchling reads these.
    assert {"pyproject.toml", "README.md", "LICENSE"} <= let_in
    for source in let_in:
        assert (ROOT / source).exists()


def test_compose_builds_the_image_of_the_checkout() -> None:
    build = compose()["services"]["replica-0"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]) == DOCKERFILE


def test_keys_come_from_secrets_and_lie_where_the_settings_say() -> None:
    wanted = {
        compose_command().variables[name]
        for name in (IDENTITY_VARIABLE, FLEET_VARIABLE)
    }
    file = compose()
    for service in REPLICAS:
        secrets = file["services"][service]["secrets"]
        assert {it["target"] for it in secrets} == wanted
        assert {it["source"] for it in secrets} == set(file["secrets"])
    paths = {it["file"] for it in file["secrets"].values()}
    assert paths == {f".{path}" for path in wanted}
    assert "/keys/" in (DEPLOY / ".gitignore").read_text().split()
    (mount,) = (it for it in container()["volumeMounts"] if it["name"] == "keys")
    assert mount["readOnly"] is True
    assert {f"{mount['mountPath']}/{name}" for name in _names_in(wanted)} == wanted
    # 0400: no right for others, whatever Kubernetes adds for the group.
    (keys,) = (it for it in pod()["volumes"] if it["name"] == "keys")
    assert keys["secret"]["defaultMode"] == 0o400
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    created = re.findall(r"kubectl create secret generic (\S+)(.*)", page)
    # At first, with a file that was moved on, and with a new one.
    assert len(created) == 3
    for name, options in created:
        assert name == keys["secret"]["secretName"]
        files = re.findall(r"--from-file=(?:\S+/)?(\S+)", options)
        assert set(files) == _names_in(wanted)


def _names_in(paths: set[str]) -> set[str]:
    return {path.rpartition("/")[2] for path in paths}


def test_no_example_holds_a_secret() -> None:
    for path in (*DOCKERFILES, COMPOSE, SIDECAR, *MANIFESTS):
        text = path.read_text(encoding="utf-8")
        assert "PRIVATE KEY" not in text
        assert MAGIC.decode("ascii").strip() not in text
    assert not [
        item
        for path in (*KUBERNETES.rglob("*.yaml"), SIDECAR)
        for item in yaml.safe_load_all(path.read_text())
        if item["kind"] == "Secret"
    ]


def test_containers_have_no_more_rights_than_they_need() -> None:
    spec, inside = pod(), container()["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == int(only("USER").split(":")[0])
    assert spec["securityContext"]["fsGroup"] > 0
    assert inside["readOnlyRootFilesystem"] is True
    assert inside["allowPrivilegeEscalation"] is False
    assert inside["capabilities"] == {"drop": ["ALL"]}
    # Kubernetes' variables for services are not ours to name.
    assert spec["enableServiceLinks"] is False
    assert spec["automountServiceAccountToken"] is False
    for service in (*REPLICAS, "router"):
        said = compose()["services"][service]
        assert said["read_only"] is True
        assert said["cap_drop"] == ["ALL"]
        assert said["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in said


def test_what_a_replica_writes_to_is_there() -> None:
    variables = compose_command().variables
    needed = {"/tmp", variables["HOME"], variables["HF_HOME"]}
    mounts = {it["mountPath"]: it["name"] for it in container()["volumeMounts"]}
    assert {*needed, "/dev/shm", "/keys"} == set(mounts)
    kinds = {it["name"]: it for it in pod()["volumes"]}
    assert set(kinds) == set(mounts.values())
    assert kinds[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    for service in REPLICAS:
        said = compose()["services"][service]
        volumes = {it.rpartition(":")[2] for it in said["volumes"]}
        # Docker's own way with a folder in memory takes no program from there.
        (temporary,) = said["tmpfs"]
        assert temporary.startswith("/tmp:exec")
        assert {*volumes, "/tmp"} == needed
        assert said["shm_size"]
