"""The programs, the environments that they run in, and how one is run."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.client.environments import environment as make
from tests.vllm_integration.attacks.relay import Relay, Reply, Request, serving
from tests.vllm_integration.servers import ROOT, wait_for
from tests.vllm_integration.tcp_tap import TcpTap

FOLDER = ROOT / "docs" / "examples"
_RUNNER = Path(__file__).with_name("run_programs.py")
# What a program imports is compiled then: a framework is mostly what nobody imports.
_PIP = ("--only-binary=:all:", "--no-compile")
_LIMIT_S = 300.0
CANCELLING = ("openai_cancel_stream", "openai_cancel_task")
EMBEDDING = "openai_embeddings"


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the programs for it by the beginning of their names.

    ``sdk`` is what the version of ``openai`` begins with. What ``instead`` names, an environment and its requirement, is found before all
    else: another version of one package does not need all others once more.
    """

    name: str
    sdk: str
    requirements: tuple[str, ...]
    prefixes: tuple[str, ...]
    instead: tuple[str, str] | None = None

    def programs(self) -> list[str]:
        """Return the names of the programs that answer by themselves, sorted."""
        special = {*CANCELLING, EMBEDDING}
        names = [path.stem for path in (FOLDER / "plain").glob("*.py")]
        return sorted(
            name
            for name in names
            if name.partition("_")[0] in self.prefixes and name not in special
        )

    def python(self) -> Path:
        """Return its interpreter; make it if it must be."""
        return make(self.name, sys.executable, *_PIP, *self.requirements)

    def search_path(self) -> str:
        """Return the ``PYTHONPATH`` of its programs."""
        folders = [ROOT]
        if self.instead:
            name, requirement = self.instead
            found = make(name, sys.executable, requirement).parents[1]
            folders += found.glob("lib/python3.*/site-packages")
        return os.pathsep.join(map(str, folders))

    def __str__(self) -> str:
        return f"{self.name.removeprefix('venv-')} openai-{self.sdk}"


_LLAMA_INDEX = ("openai>=2.54,<3", "llama-index-llms-openai-like>=0.8.1,<0.9")
ENVIRONMENTS = (
    Environment(
        "venv-frameworks",
        "3",
        (
            "openai>=3.54,<4",
            "anthropic>=2.12,<3",
            "langchain-openai>=1.7,<2",
            "pydantic-ai-slim[openai]>=2.68,<3",
        ),
        ("openai", "anthropic", "langchain", "pydantic"),
    ),
    Environment("venv-llama-index", "2", _LLAMA_INDEX, ("openai", "llamaindex")),
    Environment(
        "venv-llama-index",
        "1.109.1",
        _LLAMA_INDEX,
        ("openai", "llamaindex"),
        instead=("venv-openai-1.109.1", "openai==1.109.1"),
    ),
)


@dataclass
class Ran:
    """What a program printed, or why it failed, and what went over the wire."""

    printed: Any
    error: str
    wire: bytes
    connections: int


def run_all(
    environment: Environment,
    kind: str,
    names: Sequence[str],
    *,
    port: int,
    identity: str,
) -> dict[str, Ran]:
    """Run the programs of ``kind``, plain or protected, each through a tap of its own."""
    with contextlib.ExitStack() as stack:
        taps = [stack.enter_context(_tapped(name, port)) for name in names]
        runs = [
            {
                "path": str(FOLDER / kind / f"{name}.py"),
                "variables": _variables(tap.url),
            }
            for name, tap in zip(names, taps, strict=True)
        ]
        pin = {"SG_SERVER_IDENTITY": identity} if kind == "protected" else {}
        results = _run(environment, runs, pin)
        return {
            name: Ran(
                result.get("printed"),
                result.get("error", ""),
                tap.seen,
                tap.connections,
            )
            for name, tap, result in zip(names, taps, results, strict=True)
        }


class _Tap:
    """Where a program connects to, and what has gone through."""

    def __init__(self, through: TcpTap | Relay) -> None:
        self._through = through
        self.url = through.url

    @property
    def seen(self) -> bytes:
        if isinstance(self._through, Relay):
            return self._through.seen
        return b"\n".join([*self._through.from_client, *self._through.from_server])

    @property
    def connections(self) -> int:
        return 0 if isinstance(self._through, Relay) else len(self._through.from_client)


@contextlib.contextmanager
def _tapped(name: str, port: int) -> Iterator[_Tap]:
    if name in _MOVES:
        with serving(Relay(port, _MOVES[name])) as relay:
            yield _Tap(relay)
    else:
        with TcpTap(port) as tap:
            yield _Tap(tap)


def _refuse_twice(relay: Relay, request: Request) -> Reply:
    """Do what a gateway does whose servers are all busy at first."""
    if request.is_for_a_document or len(relay.sealed) > 2:
        return relay.forward(request)
    return _UNAVAILABLE


def _answer_the_patient(relay: Relay, request: Request) -> Reply:
    """Hold what waits for less than a second until something more patient has come."""
    if _patience(request) == "0.5":
        wait_for(
            lambda: "600" in map(_patience, relay.sealed),
            "a more patient request",
            _LIMIT_S,
        )
        return _UNAVAILABLE
    return relay.forward(request)


def _patience(request: Request) -> str:
    return dict(request.headers).get("x-stainless-read-timeout", "")


_UNAVAILABLE = Reply(503, (("content-type", "text/plain"),), b"no server is free")
_MOVES = {"openai_retries": _refuse_twice, "openai_timeouts": _answer_the_patient}


def _variables(url: str) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "ANTHROPIC_BASE_URL": url,
    }


def _run(
    environment: Environment, runs: list[dict[str, Any]], pin: dict[str, str]
) -> list[Any]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SG_", "OPENAI_", "ANTHROPIC_", "LANGSMITH_"))
        and not name.lower().endswith("_proxy")
    }
    keys = {"OPENAI_API_KEY": "none", "ANTHROPIC_API_KEY": "none"}
    result = subprocess.run(
        [str(environment.python()), "-X", "utf8", str(_RUNNER), environment.sdk],
        env={**kept, **keys, **pin, "PYTHONPATH": environment.search_path()},
        input=json.dumps(runs),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=_LIMIT_S,
    )
    assert result.returncode == 0, result.stderr
    answers: list[Any] = json.loads(result.stdout)
    return answers
