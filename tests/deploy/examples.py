"""What the Dockerfile, the compose file and the manifests say."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dockerfile_parse
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = sorted(KUBERNETES.rglob("*.yaml"))
MODEL = "Qwen/Qwen3-8B"
# What is in the image, or mounted there, and not on a machine.
OWN_FOLDERS = ("/keys/", "/models", "/home/vllm")

_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


@dataclass(frozen=True)
class Instruction:
    """One line of the Dockerfile."""

    name: str
    value: str


@dataclass(frozen=True)
class Command:
    """What a container runs, and the variables that it has."""

    arguments: tuple[str, ...]
    variables: Mapping[str, str]

    def option(self, name: str) -> str:
        """Return an option's value."""
        (found,) = (it for it in self.arguments if it.startswith(f"{name}="))
        return found.partition("=")[2]

    def below(self, folder: Path) -> Command:
        """Return it with the image's own folders below ``folder``, and made."""
        moved = {}
        for name, value in self.variables.items():
            if value.startswith(OWN_FOLDERS):
                value = str(folder / value.lstrip("/"))
                Path(value).parent.mkdir(parents=True, exist_ok=True)
            moved[name] = value
        return Command(self.arguments, moved)


def instructions(path: Path = DOCKERFILE) -> list[Instruction]:
    """Return what a Dockerfile does, without its comments."""
    parser = dockerfile_parse.DockerfileParser(fileobj=io.BytesIO(path.read_bytes()))
    lines = [Instruction(it["instruction"], it["value"]) for it in parser.structure]
    return [it for it in lines if it.name != "COMMENT"]


def only(name: str, path: Path = DOCKERFILE) -> str:
    """Return the value of an instruction that is there once."""
    (found,) = (it.value for it in instructions(path) if it.name == name)
    return found


def image_variables() -> dict[str, str]:
    """Return what the Dockerfile sets."""
    return dict(item.split("=", 1) for item in only("ENV").split())


def compose(variables: Mapping[str, str] = {}) -> dict[str, Any]:
    """Return the compose file with its variables put in."""

    def value(found: re.Match[str]) -> str:
        return variables.get(found[1]) or found[2]

    text = _VARIABLE.sub(value, COMPOSE.read_text(encoding="utf-8"))
    assert "$" not in text
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def manifest(kind: str) -> dict[str, Any]:
    """Return the manifest of a kind of which there is one."""
    everything = [
        item
        for path in MANIFESTS
        for item in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    (found,) = (item for item in everything if item["kind"] == kind)
    loaded: dict[str, Any] = found
    return loaded


def pod() -> dict[str, Any]:
    """Return the replicas' pod."""
    spec: dict[str, Any] = manifest("Deployment")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    """Return the one container of the replicas' pod."""
    (found,) = pod()["containers"]
    loaded: dict[str, Any] = found
    return loaded


def compose_command(service: str = "replica-0", *, model: str = MODEL) -> Command:
    """Return what a service of the compose file runs."""
    found = compose({"MODEL": model})["services"][service]
    entrypoint = json.loads(only("ENTRYPOINT"))
    return Command(
        (*entrypoint, *found["command"]),
        # One without a value comes from the environment of whoever starts it.
        {
            **image_variables(),
            **{name: it for name, it in found["environment"].items() if it is not None},
        },
    )


def kubernetes_command(*, model: str = MODEL) -> Command:
    """Return what the replicas' container runs."""
    settings = {**manifest("ConfigMap")["data"], "MODEL": model}
    (source,) = container()["envFrom"]
    assert source["configMapRef"]["name"] == manifest("ConfigMap")["metadata"]["name"]
    arguments = [
        re.sub(r"\$\((\w+)\)", lambda it: settings[it[1]], argument)
        for argument in container()["args"]
    ]
    entrypoint = json.loads(only("ENTRYPOINT"))
    return Command((*entrypoint, *arguments), {**image_variables(), **settings})
