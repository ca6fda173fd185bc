"""A replica as the examples start it, as a plain process, and their probes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.deploy.examples import Command, compose, container

Probe = Callable[[], bool]
# What the machine of the tests needs beside what the examples say.
ON_A_CPU = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "600",
    "PYTHONUNBUFFERED": "1",
}
_INHERITED_NOT = ("SG_", "VLLM_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def begin(
    arguments: Sequence[str], variables: Mapping[str, str], log_path: Path
) -> subprocess.Popen[bytes]:
    """Start a program of this environment as the leader of a new process group."""
    program = Path(sys.executable).with_name(arguments[0])
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_INHERITED_NOT)
    }
    with log_path.open("wb") as log:
        return subprocess.Popen(
            [str(program), *arguments[1:]],
            env={**inherited, **variables},
            cwd=log_path.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


@dataclass
class Probes:
    """Every probe of the examples, asked of one server, and what each has said."""

    command: Command
    port: int
    said: dict[str, list[bool]] = field(default_factory=dict)

    def ask(self) -> bool:
        """Ask each of them once; tell whether all succeeded."""
        answers = {name: probe() for name, probe in self._all().items()}
        for name, answer in answers.items():
            self.said.setdefault(name, []).append(answer)
        return all(answers.values())

    def readiness(self) -> bool:
        """Ask Kubernetes' readiness probe."""
        return self._all()["readiness"]()

    def _all(self) -> dict[str, Probe]:
        kubernetes = {
            name: self._http(container()[f"{name}Probe"])
            for name in ("startup", "liveness", "readiness")
        }
        check = compose()["services"]["replica-0"]["healthcheck"]
        return {**kubernetes, "compose": self._program(check)}

    def _http(self, probe: Mapping[str, Any]) -> Probe:
        asked = probe["httpGet"]

        def ask() -> bool:
            try:
                answer = httpx2.get(
                    f"http://127.0.0.1:{self.port}{asked['path']}",
                    timeout=probe["timeoutSeconds"],
                )
            except httpx2.TransportError:
                return False
            return 200 <= answer.status_code < 400

        return ask

    def _program(self, check: Mapping[str, Any]) -> Probe:
        how, program, *arguments = check["test"]
        assert (how, program) == ("CMD", "python3")
        inside = f"127.0.0.1:{self.command.option('--port')}/"
        assert inside in arguments[-1]
        arguments[-1] = arguments[-1].replace(inside, f"127.0.0.1:{self.port}/")

        def ask() -> bool:
            try:
                done = subprocess.run(
                    [sys.executable, *arguments],
                    capture_output=True,
                    timeout=float(check["timeout"].removesuffix("s")),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return False
            return done.returncode == 0

        return ask
