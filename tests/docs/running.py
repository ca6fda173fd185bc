"""Runs the blocks of one page, in their order, in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.docs.blocks import ROOT, RUN, Block
from tests.docs.child import Child
from tests.interop.node import newest
from tests.vllm_integration.servers import free_port

STAND_INS = Path(__file__).with_name("stand_ins.sh")
# What README's commands expect to stand in.
CHECKOUT = ("tests", "benchmarks", "docs", "pyproject.toml")
OTHER_FINGERPRINT = "SHA256:" + "A" * 43
_LIMIT_S = 300.0
_END_LIMIT_S = 20.0
_INHERITED_NOT = ("SG_", "VLLM_", "OPENAI_", "ANTHROPIC_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass
class Target:
    """The server that the pages' examples talk to, and the model that it has."""

    origin: str
    fingerprint: str
    model: str = "tiny"
    question: str = "Hello"
    # In place of the proxy's 8123, which somebody may have taken.
    proxy_port: int = field(default_factory=free_port)

    @property
    def variables(self) -> dict[str, str]:
        """What an existing program is told by its environment."""
        return {
            "OPENAI_BASE_URL": f"{self.origin}/v1",
            "OPENAI_API_KEY": "none",
            "SG_SERVER_IDENTITY": self.fingerprint,
        }

    def in_place(self, text: str, folder: Path) -> str:
        """Return ``text`` with its made-up names replaced by what is there."""
        text = re.sub(r"SHA256:9aK…", OTHER_FINGERPRINT, text)
        text = re.sub(r"SHA256:[A-Za-z0-9+/]*…", self.fingerprint, text)
        text = re.sub(
            r"https?://([\w.-]+\.example\.com|(gateway|localhost|127\.0\.0\.1):8000"
            r"|REPLICA:PORT|host)(?![\w.])",
            self.origin,
            text,
        )
        text = re.sub(r"\bMODEL\b", self.model, text)
        text = re.sub(r"(?<=[: ])8123\b", str(self.proxy_port), text)
        text = text.replace('"Hello"', json.dumps(self.question))
        return text.replace("/home/me", str(folder))


@dataclass
class Run:
    """The run of one page: its folder and what its Python has defined so far."""

    folder: Path
    target: Target
    variables: Mapping[str, str] = field(default_factory=dict)
    _python: Child | None = None

    def __post_init__(self) -> None:
        for name in CHECKOUT:
            (self.folder / name).symlink_to(ROOT / name)
        (self.folder / "scripts").mkdir()
        for name in ("demo", "test", "setup", "docs"):
            stand_in = self.folder / "scripts" / name
            stand_in.write_text(f'#!/bin/sh\ntest -x "{ROOT}/scripts/{name}"\n')
            stand_in.chmod(0o755)

    def run(self, block: Block) -> None:
        """Run one block; of data that has a title make the file.

        Raises:
            AssertionError: a command failed, or a client that the block made does not
                get a protected answer.
        """
        text = self.target.in_place(block.program, self.folder)
        if block.title:
            (self.folder / block.title).write_text(text, encoding="utf-8")
        if block.language in ("python", "diff"):
            self._run_python(block, text)
        elif block.language in RUN:
            self._run_shell(block, text)

    def end(self) -> None:
        """End what the page left running."""
        if self._python is not None:
            self._python.end()
        left_running = self.folder / "left-running"
        if left_running.exists():
            _end_process(int(left_running.read_text()))

    @property
    def recorded(self) -> list[dict[str, Any]]:
        """What was asked of the programs that stand-ins stood for."""
        record = self.folder / "record.jsonl"
        if not record.exists():
            return []
        return [json.loads(line) for line in record.read_text().splitlines()]

    def _run_shell(self, block: Block, text: str) -> None:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )
        said = f"{block}: status {result.returncode}\n{result.stdout}\n{result.stderr}"
        assert result.returncode == 0, said
        print(said)

    def _run_python(self, block: Block, text: str) -> None:
        if self._python is None:
            environment = {**self._environment(), "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-m", "tests.docs.snippets"]
            self._python = Child(command, self.folder, environment)
        problem = self._python.ask(
            {
                "page": str(block.page.relative_to(ROOT)),
                "line": block.line,
                "text": text,
                "variables": self.target.variables if block.language == "diff" else {},
                "origin": self.target.origin,
                "model": self.target.model,
                "question": self.target.question,
            }
        )
        assert not problem, f"{block}:\n{problem}"

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_INHERITED_NOT) and name.lower() not in _PROXIES
        }
        programs = [str(Path(sys.executable).parent), str(newest().parent)]
        return {
            **inherited,
            "PATH": os.pathsep.join([*programs, inherited["PATH"]]),
            # The checkout stands in the folder as links.
            "NODE_OPTIONS": "--preserve-symlinks --preserve-symlinks-main",
            "HOME": str(self.folder),
            "BASH_ENV": str(STAND_INS),
            "DOCS_ROOT": str(ROOT),
            "DOCS_PYTHON": sys.executable,
            "DOCS_PROXY_PORT": str(self.target.proxy_port),
            "DOCS_FOLDER": str(self.folder),
            "DOCS_RECORD": str(self.folder / "record.jsonl"),
            **self.variables,
        }


def _end_process(pid: int) -> None:
    """End a process that is not our child, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + _END_LIMIT_S
        while time.monotonic() < until:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
