"""Puts an application on a port, here or in a process of its own, and asks it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from tests.apps.proxy.running import served as running
from tests.apps.proxy.running import unused_port, wait_for_the_ending

# However slow the machine.
TIMEOUT_S = 120.0
_START_LIMIT_S = 300
_ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve under uvicorn, and yield the base URL."""
    config = uvicorn.Config(
        app,
        log_level="critical",
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        # Shorter, and a machine that stands still closes what is about to be used.
        timeout_keep_alive=600,
    )
    try:
        with running(config) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        wait_for_the_ending()


@dataclass(frozen=True)
class Process:
    """A server in a process of its own. Its log is also the tests' standard error."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def door(self) -> Path:
        """What its engine waits for, asked for ``HELD``."""
        return self.log.with_suffix(".door")

    def is_listening(self) -> bool:
        """Tell whether it takes connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True


@contextlib.contextmanager
def process_of(
    python: str, kind: str, way: str, log: Path, **environment: str
) -> Iterator[Process]:
    """Run ``serve_inference`` until the block ends."""
    port = unused_port()
    door = log.with_suffix(".door")
    command = [python, "-m", "tests.asgi.serve_inference", kind, str(port), str(door)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, way],
            env={
                **os.environ,
                "PYTHONPATH": str(_ROOT),
                "JAX_PLATFORMS": "cpu",
                **environment,
            },
            cwd=_ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    made = Process(port, process, log)
    end = time.monotonic() + _START_LIMIT_S
    try:
        while not made.is_listening():
            assert process.poll() is None, "it ended"
            assert time.monotonic() < end, "it did not start"
            time.sleep(0.2)
        yield made
    finally:
        # Its engine may have minutes to play.
        process.kill()
        process.wait()
        sys.stderr.write(log.read_text("utf-8", "replace"))


def fetched(url: str, method: str = "GET", **options: Any) -> httpx2.Response:
    """Ask as somebody who knows nothing of the protection."""
    # Certificates, which nothing here has, would take longer to load than the answer.
    options["verify"] = False
    return httpx2.request(method, url, timeout=TIMEOUT_S, trust_env=False, **options)
