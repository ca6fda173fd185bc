"""Starts llama.cpp's server on the tests' tiny model, and a sidecar beside it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.apps.proxy.running import unused_port
from tests.apps.sidecar.sidecars import command
from tests.asgi.serving import TIMEOUT_S
from tests.vllm_integration.servers import MODEL, MODEL_PATH
from tests.vllm_integration.tcp_tap import TcpTap

_START_LIMIT_S = 300
_END_LIMIT_S = 20


@dataclass(frozen=True)
class Engine:
    """Where the engine is, and what it writes to its log."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")


@contextlib.contextmanager
def running(python: str, folder: Path) -> Iterator[Engine]:
    """Start it with a Python that has it, and end it for certain."""
    model, engine = folder / "tiny.gguf", Engine(unused_port(), folder / "log")
    writer = Path(__file__).with_name("llama_cpp_model.py")
    subprocess.run([python, writer, MODEL_PATH, model], check=True)
    options: dict[str, Any] = {
        "model": model,
        "model_alias": MODEL,
        "n_ctx": 16384,
        "n_threads": 1,
        "n_threads_batch": 1,
        "interrupt_requests": False,
        "host": "127.0.0.1",
        "port": engine.port,
    }
    words = [str(it) for name, value in options.items() for it in (f"--{name}", value)]
    with engine.log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", "llama_cpp.server", *words],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + _START_LIMIT_S
        while "Uvicorn running on" not in engine.said():
            assert process.poll() is None, engine.said()[-3000:]
            assert time.monotonic() < end, engine.said()[-3000:]
            time.sleep(0.2)
        yield engine
    finally:
        process.terminate()
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Sidecar:
    """The command beside the engine, with a tap on either side of it."""

    outside: TcpTap
    inside: TcpTap

    @property
    def url(self) -> str:
        return self.outside.url

    def wire(self) -> bytes:
        """Return what clients and sidecar have said to each other."""
        return b"".join([*self.outside.from_client, *self.outside.from_server])

    def plaintext(self) -> bytes:
        """Return what sidecar and engine have."""
        return b"".join([*self.inside.from_client, *self.inside.from_server])


@contextlib.contextmanager
def beside(engine: Engine) -> Iterator[Sidecar]:
    """Start the command with no more options than every engine needs."""
    with TcpTap(engine.port) as inside:
        # However slow the machine, an engine that is well answers its probe in time.
        options = ("--upstream", inside.url, "--health-timeout", str(TIMEOUT_S))
        with command(*options) as sidecar:
            with TcpTap(int(sidecar.url.rpartition(":")[2])) as outside:
                yield Sidecar(outside, inside)
