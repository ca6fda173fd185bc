"""Starts a server as a process group of its own, waits for it, and ends it for certain."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODEL_PATH = ROOT / ".cache" / "tiny-model"
MODEL = "tiny"
# Room for an answer that takes half a minute, however fast the machine.
CONTEXT = 16384

MODEL_OPTIONS = (
    *("--served-model-name", MODEL, "--dtype", "bfloat16"),
    *("--max-model-len", str(CONTEXT)),
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    *("--reasoning-parser", "qwen3"),
)
# Up sooner, and answering the same.
QUICK = ("--enforce-eager",)
_START_LIMIT_S = 600.0
_PROGRESS_S = 10.0
_END_LIMIT_S = 20.0
_TAIL_LINES = 60

_INHERITED_NOT = ("SG_", "VLLM_", "TAP_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # A machine that stands still for the usual 5 s would close what is about to be used.
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "600",
    "PYTHONUNBUFFERED": "1",
    # What a tap inside the protection is told by a test's request, sealed or not.
    "SG_PASSED_HEADERS": "x-test-id,x-test-fault,x-test-words",
}


@dataclass
class Emitted:
    """What vLLM's app sent inside the protection in answer to one request."""

    status: int
    content_type: str
    pieces: list[bytes]
    end: str | None

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)


@dataclass
class Server:
    """A running server. ``tap_path`` is where its tap writes, if it has one."""

    port: int
    process: subprocess.Popen[bytes]
    log_path: Path
    tap_path: Path | None = None
    start_s: float = 0.0
    _records: list[dict[str, Any]] = field(default_factory=list)
    _read_to: int = 0

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything the server and its child processes have printed."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def tapped(self, test_id: str) -> list[dict[str, Any]]:
        """Return what the tap has written about one request."""
        assert self.tap_path is not None
        with self.tap_path.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                self._records.append(json.loads(line))
        return [record for record in self._records if record["id"] == test_id]

    def emitted(self, test_id: str, *, wait_s: float = 60.0) -> Emitted:
        """Return what vLLM sent to one request, once its app has ended."""
        records = wait_for(
            lambda: self._ended(test_id), f"the end of {test_id}", wait_s
        )
        starts = [at for at, item in enumerate(records) if item["event"] == "start"]
        answer = records[starts[-1] :]
        headers = {name.lower(): value for name, value in answer[0]["headers"]}
        return Emitted(
            answer[0]["status"],
            headers.get("content-type", ""),
            [base64.b64decode(item["data"]) for item in answer if "data" in item],
            records[-1]["how"],
        )

    def _ended(self, test_id: str) -> list[dict[str, Any]] | None:
        records = self.tapped(test_id)
        return records if records and records[-1]["event"] == "end" else None

    def end(self) -> None:
        """End every process of the server's group."""
        _end_group(self.process)


def start(
    name: str,
    command: Sequence[str],
    folder: Path,
    *,
    variables: Mapping[str, str],
    say: Callable[[str], None],
    has_tap: bool = False,
) -> Server:
    """Start ``command`` with a free port and wait until it is healthy."""
    port = free_port()
    tap_path = folder / f"{name}.tap.jsonl" if has_tap else None
    variables = {**variables, **({"TAP_FILE": str(tap_path)} if tap_path else {})}
    address = ("--host", "127.0.0.1", "--port", str(port))
    process, log_path = launch(
        name, [*command, *MODEL_OPTIONS, *address], folder, variables
    )
    server = Server(port, process, log_path, tap_path)
    began = time.monotonic()
    said = began
    try:
        while not _is_healthy(server.url):
            now = time.monotonic()
            if process.poll() is not None:
                raise RuntimeError(f"the server {name} ended at start")
            if now - began > _START_LIMIT_S:
                raise RuntimeError(f"the server {name} is not up in {_START_LIMIT_S} s")
            if now - said > _PROGRESS_S:
                said = now
                say(f"{name}: loading, {now - began:.0f} s")
            time.sleep(0.25)
    except BaseException:
        server.end()
        say(f"{name}: the end of its log:\n{tail(log_path)}")
        raise
    server.start_s = time.monotonic() - began
    say(f"{name}: up after {server.start_s:.0f} s")
    return server


def launch(
    name: str, command: Sequence[str], folder: Path, variables: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start ``python -m command`` as the leader of a new process group."""
    log_path = folder / f"{name}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=_environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Not a session of its own: Linux gives each session the same share of the
            # processor, and an engine at full speed then froze all others for seconds.
            process_group=0,
        )
    return process, log_path


def run_to_end(
    name: str,
    command: Sequence[str],
    folder: Path,
    *,
    variables: Mapping[str, str],
    limit_s: float = 300.0,
) -> tuple[int, str]:
    """Run a command that is expected to end by itself; return status and log."""
    process, log_path = launch(name, command, folder, variables)
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{name} goes on:\n{tail(log_path)}") from None
    finally:
        _end_group(process)
    return status, log_path.read_text(encoding="utf-8", errors="replace")


def wait_for(look: Callable[[], Any], what: str, limit_s: float = 60.0) -> Any:
    """Return what ``look`` returns as soon as that is true."""
    until = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < until, f"waited {limit_s} s for {what}"
        time.sleep(0.02)
    return found


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def tail(log_path: Path) -> str:
    """Return the last lines of a log."""
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_INHERITED_NOT)
    }
    return {**inherited, **_ENVIRONMENT, **variables}


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except (OSError, ValueError):
        return False


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_LIMIT_S)
        until = time.monotonic() + (_END_LIMIT_S if number == signal.SIGTERM else 5)
        while time.monotonic() < until:
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
