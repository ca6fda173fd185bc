"""Throughput of a protected and a plain vLLM: ``python -m benchmarks.serve [--json]``.

Both servers are started in one run and loaded in turn by ``vllm bench serve``, which
sends the protected one a client's public key and reads sealed answers as they are. It
asks for ``usage``, whose counts stay readable, and counts tokens by that; every answer
has a fixed length, so the counts are checked. The ratio is the median of the rounds'.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from stainedglass_output_protection.protocol.constants import (
    DEFAULT_CLIENT_KEY_HEADER,
    TEXT_PREFIX,
)
from stainedglass_output_protection.protocol.encoding import encode_base64

TARGET_RATIO = 0.95
START_LIMIT_S = 300.0
ROOT = Path(__file__).resolve().parents[1]
MODEL = "tiny"

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # A slow machine's load generator pauses longer than the usual 5 s, and would then
    # write into a connection that the server has just closed.
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "600",
}
_PLAIN = ("benchmarks.vllm_commands", "serve")
_PROTECTED = ("stainedglass_output_protection.vllm.entrypoint", "serve")


@dataclass(frozen=True)
class Server:
    """A running server, and the headers that its clients send."""

    port: int
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Load:
    """What one round asks for."""

    prompts: int
    concurrency: int
    input_length: int
    output_length: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve")
    parser.add_argument("--model", type=Path, default=ROOT / ".cache" / "tiny-model")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--input-length", type=int, default=64)
    parser.add_argument("--output-length", type=int, default=128)
    parser.add_argument(
        "--control",
        action="store_true",
        help="compare two plain servers: what the ratio is worth on this machine",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    # Ends the servers too: they are sessions of their own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load = Load(
        options.prompts,
        options.concurrency,
        options.input_length,
        options.output_length,
    )
    found = measure(
        options.model, load, rounds=options.rounds, is_control=options.control
    )
    print(json.dumps(found, indent=2) if options.json else table(found))
    return 0 if found["met"] else 1


def measure(
    model: Path, load: Load, *, rounds: int, is_control: bool = False
) -> dict[str, Any]:
    """Start both servers, load them in turn and return tokens per second and ratio.

    As a control, the protected one is a second plain one.
    """
    key = encode_base64(X25519PrivateKey.generate().public_key().public_bytes_raw())
    header = (DEFAULT_CLIENT_KEY_HEADER, key.decode("ascii"))
    with (
        tempfile.TemporaryDirectory() as folder,
        _server(_PLAIN, model, Path(folder, "plain.log")) as plain_port,
        _server(
            _PLAIN if is_control else _PROTECTED, model, Path(folder, "protected.log")
        ) as protected_port,
    ):
        servers = {
            "plain": Server(plain_port, ()),
            "protected": Server(protected_port, (header,)),
        }
        for name, server in servers.items():
            is_sealed = name == "protected" and not is_control
            if _is_sealed(server) != is_sealed:
                raise RuntimeError(f"The {name} server's answer is not {name}.")
        # Round 0 warms up.
        order = [
            (name, number)
            for number in range(rounds + 1)
            for name in (list(servers) if number % 2 else list(servers)[::-1])
        ]
        results = [Path(folder, f"{name}-{number}.json") for name, number in order]
        _bench(
            [
                _arguments(servers[name], model, load, result, seed=number)
                for (name, number), result in zip(order, results, strict=True)
            ],
            Path(folder, "rounds.json"),
        )
        rates: dict[str, list[float]] = {name: [] for name in servers}
        for (name, number), result in zip(order, results, strict=True):
            rate = _rate(json.loads(result.read_text("utf-8")), load)
            if number:
                rates[name].append(round(rate, 1))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    # Of neighbours in time: what else the machine does changes slower than that.
    ratio = statistics.median(
        protected / plain
        for protected, plain in zip(rates["protected"], rates["plain"], strict=True)
    )
    return {
        "met": ratio >= TARGET_RATIO,
        "is_control": is_control,
        "target_ratio": TARGET_RATIO,
        "ratio": round(ratio, 4),
        "output_tokens_per_s": medians,
        "rounds": rates,
        "load": vars(load),
    }


def table(found: dict[str, Any]) -> str:
    """Return the measurements as text."""
    lines = [f"Output tokens/s, {found['load']}"]
    if found["is_control"]:
        lines.append("  CONTROL: both servers are plain, so the ratio shows noise only")
    for name, values in found["rounds"].items():
        median = found["output_tokens_per_s"][name]
        lines.append(f"  {name:10} {median:8.1f}  ({min(values)} to {max(values)})")
    verdict = "" if found["met"] else "  MISSED"
    lines.append(
        f"  protected over plain {found['ratio']:.3f}, at least "
        f"{found['target_ratio']}{verdict}"
    )
    return "\n".join(lines)


def _arguments(
    server: Server, model: Path, load: Load, result: Path, *, seed: int
) -> list[str]:
    headers = [f"{name}={value}" for name, value in server.headers]
    return [
        *("--backend", "openai-chat", "--endpoint", "/v1/chat/completions"),
        *("--base-url", f"http://127.0.0.1:{server.port}", "--model", MODEL),
        *("--tokenizer", str(model), "--dataset-name", "random"),
        *("--random-input-len", str(load.input_length)),
        *("--random-output-len", str(load.output_length), "--ignore-eos"),
        *("--num-prompts", str(load.prompts)),
        *("--max-concurrency", str(load.concurrency)),
        *("--seed", str(seed), "--disable-tqdm"),
        *("--save-result", "--save-detailed", "--result-filename", str(result)),
        *(("--header", *headers) if headers else ()),
    ]


def _bench(rounds: list[list[str]], file: Path) -> None:
    file.write_text(json.dumps(rounds), "utf-8")
    command = [sys.executable, "-m", "benchmarks.vllm_commands", "bench", str(file)]
    done = subprocess.run(
        command, env=_environment(), cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"The load generator failed:\n{done.stderr[-3000:]}")


def _rate(found: dict[str, Any], load: Load) -> float:
    expected = load.prompts * load.output_length
    if found["completed"] != load.prompts or found["total_output_tokens"] != expected:
        errors = sorted({error[-500:] for error in found["errors"] if error})
        raise RuntimeError(
            f"{found['completed']} answers with {found['total_output_tokens']} tokens "
            f"instead of {load.prompts} with {expected}: the rates mean nothing. {errors}"
        )
    return float(found["output_throughput"])


def _is_sealed(server: Server) -> bool:
    body = {"model": MODEL, "max_tokens": 4, "messages": [], "stream": True}
    body["messages"] = [{"role": "user", "content": "Hello"}]
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", **dict(server.headers)},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return TEXT_PREFIX.encode() in answer.read()


@contextlib.contextmanager
def _server(module: Sequence[str], model: Path, log: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", *module, str(model), "--served-model-name", MODEL),
        *("--dtype", "bfloat16", "--max-model-len", "1024"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=_environment(),
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, port, log)
        yield port
    finally:
        _end(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            return
        time.sleep(0.5)
    raise RuntimeError(f"A server did not start:\n{log.read_text('utf-8')[-5000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        # The server is a session of its own: its engine's processes end with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


def _environment() -> dict[str, str]:
    inherited = os.environ.items()
    kept = {name: value for name, value in inherited if not name.startswith("SG_")}
    return {**kept, **_ENVIRONMENT}


if __name__ == "__main__":
    sys.exit(main())
