"""A process that answers a line of JSON for each that it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Child:
    """Runs a module that calls ``answer_lines``, until ``end``."""

    def __init__(
        self, module: str, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, question: object) -> Any:
        """Return the answer to one question.

        Raises:
            AssertionError: the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{self._process.args!r} ended: {self._process.wait()}"
        return json.loads(line)

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


def answer_lines(answer: Callable[[Any], object]) -> None:
    """Answer what comes in until it ends; what else is printed goes elsewhere."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
