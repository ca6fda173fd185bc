"""Runs ``sg-vllm proxy`` as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.apps.proxy.running import Running

SG_VLLM = (
    *(sys.executable, "-c"),
    "from stainedglass_output_protection.apps.cli import main; main()",
)
_END_LIMIT_S = 60


@dataclass(frozen=True)
class Started(Running):
    """A process; ``banner`` is what it said when it began to listen."""

    banner: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """Tell it to end, as a service manager does."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return the exit status and what it has logged."""
        _, errors = self.process.communicate(timeout=_END_LIMIT_S)
        return self.process.returncode, errors


@contextlib.contextmanager
def started(url: str, *options: str, **variables: str) -> Iterator[Started]:
    """Start the command on a free port, and end it for certain."""
    process = subprocess.Popen(
        [*SG_VLLM, "proxy", url, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "ANTHROPIC" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], process.communicate()[1]
        port = int(lines[0].rpartition(":")[2])
        yield Started(port, "".join(lines), process)
    finally:
        process.kill()
        process.communicate()
