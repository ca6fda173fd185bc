"""The programs, the environments that they run in, and how they are run."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.client.environments import environment as make
from tests.docs.child import Child
from tests.vllm_integration.examples.taps import tapped
from tests.vllm_integration.servers import ROOT

FOLDER = ROOT / "docs" / "examples"
_RUNNER = Path(__file__).with_name("run_programs.py")
# What a program imports is compiled then: a framework is mostly what nobody imports.
_PIP = ("--only-binary=:all:", "--no-compile")
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


class Interpreter:
    """Runs programs of one environment, one after the other, until ``end``."""

    def __init__(self, environment: Environment) -> None:
        python = [str(environment.python()), "-X", "utf8"]
        self._child = Child(
            [*python, str(_RUNNER), environment.sdk],
            ROOT,
            {**_inherited(), "PYTHONPATH": environment.search_path()},
        )

    def run(
        self, kind: str, names: Sequence[str], *, port: int, identity: str
    ) -> dict[str, Ran]:
        """Run programs of ``kind``, plain or protected, each through a tap of its own.

        A protected one pins ``identity``.
        """
        pin = {"SG_SERVER_IDENTITY": identity} if kind == "protected" else {}
        with contextlib.ExitStack() as stack:
            taps = [stack.enter_context(tapped(name, port)) for name in names]
            runs = [
                {
                    "path": str(FOLDER / kind / f"{name}.py"),
                    "variables": {**pin, **_variables(tap.url)},
                }
                for name, tap in zip(names, taps, strict=True)
            ]
            results = self._child.ask(runs)
            return {
                name: Ran(
                    result.get("printed"),
                    result.get("error", ""),
                    tap.seen,
                    tap.connections,
                )
                for name, tap, result in zip(names, taps, results, strict=True)
            }

    def end(self) -> None:
        """End it."""
        self._child.end()


def _variables(url: str) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "none",
    }


def _inherited() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SG_", "OPENAI_", "ANTHROPIC_", "LANGSMITH_"))
        and not name.lower().endswith("_proxy")
        # What was not compiled when it was installed is to be compiled once only.
        and name != "PYTHONDONTWRITEBYTECODE"
    }
