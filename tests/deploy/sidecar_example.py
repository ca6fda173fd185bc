"""What the sidecar's Dockerfile and manifests say."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tests.deploy.examples import DEPLOY, Command, only

SIDECAR = DEPLOY / "sidecar" / "sidecar.yaml"
SIDECAR_DOCKERFILE = DEPLOY / "sidecar" / "Dockerfile"


def manifest(kind: str) -> dict[str, Any]:
    """Return the manifest of a kind."""
    everything = yaml.safe_load_all(SIDECAR.read_text(encoding="utf-8"))
    (found,) = (item for item in everything if item["kind"] == kind)
    loaded: dict[str, Any] = found
    return loaded


def pod() -> dict[str, Any]:
    """Return the pod of an engine and its sidecar."""
    spec: dict[str, Any] = manifest("Deployment")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    """Return the sidecar's container."""
    (found,) = pod()["containers"]
    loaded: dict[str, Any] = found
    return loaded


def engine() -> dict[str, Any]:
    """Return the engine's container."""
    (found,) = pod()["initContainers"]
    loaded: dict[str, Any] = found
    return loaded


def sidecar_command() -> Command:
    """Return what the sidecar's container runs."""
    entrypoint = json.loads(only("ENTRYPOINT", SIDECAR_DOCKERFILE))
    variables = {it["name"]: it["value"] for it in container()["env"]}
    return Command((*entrypoint, *container()["args"]), variables)
