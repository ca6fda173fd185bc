"""A process that answers a line of JSON for each that it is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Longer than anything takes: what hangs ends then.
_LIMIT_S = 600.0
_TAIL = 3000


class Child:
    """Runs a command whose program calls ``answer_lines``, until ``end``."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            encoding="utf-8",
        )

    def ask(self, question: object) -> Any:
        """Return the answer to one question.

        Raises:
            AssertionError: the process has ended, or had to be ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        limit = threading.Timer(_LIMIT_S, self._process.kill)
        limit.start()
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        except BaseException:
            self._process.kill()
            raise
        finally:
            limit.cancel()
        assert line, f"{self._process.args!r} ended: {self._end_of_what_it_said()}"
        return json.loads(line)

    def end(self) -> None:
        """End the process."""
        self._process.communicate()
        self._said.close()

    def _end_of_what_it_said(self) -> str:
        status = self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode("utf-8", "replace")
        return f"status {status}\n{said[-_TAIL:]}"


def answer_lines(answer: Callable[[Any], object]) -> None:
    """Answer what comes in until it ends; what else is printed goes elsewhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
