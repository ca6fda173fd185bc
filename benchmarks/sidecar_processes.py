"""The processes that the sidecar is measured with: ``python -m benchmarks.sidecar_processes``.

``plain`` serves an application that streams as vLLM does, ``protected`` the same within
``asgi.protect``. The third is the command ``sg-vllm sidecar`` itself, in front of the
first. Each prints a line with its port when it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.protocol.identity import IdentityKey

PATH = "/v1/chat/completions"
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8")]
_WORDS = (" the", " keeper", " of", " a", " lighthouse", " counts", " waves", ".")
_encode = msgspec.json.encode


def main(arguments: list[str]) -> None:
    """Serve until the process is ended."""
    app = Starlette(routes=[Route(PATH, _Streams(), methods=["POST"])])
    if arguments[0] == "protected":
        protect(app)
    # With its protocol named, asyncio sends small events at once.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    config = uvicorn.Config(app, log_level="error", timeout_keep_alive=600)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


class _Streams:
    """Streams as many events as it is asked for, each when it is due.

    ``begin_at`` and ``period_s`` are of the monotonic clock, which all processes share.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        has_more = True
        while has_more:
            message = await receive()
            body += message["body"]
            has_more = message["more_body"]
        asked = json.loads(body)
        start = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
        await send(start)
        for number in range(asked["events"]):
            due = asked["begin_at"] + number * asked["period_s"]
            await asyncio.sleep(max(0, due - time.monotonic()))
            event = b"data: " + _encode(_chunk(number)) + b"\n\n"
            await send({"type": "http.response.body", "body": event, "more_body": True})
        end = b"data: [DONE]\n\n"
        await send({"type": "http.response.body", "body": end, "more_body": False})


def _chunk(number: int) -> dict[str, Any]:
    choice = {
        "index": 0,
        "delta": {"content": _WORDS[number % len(_WORDS)]},
        "logprobs": None,
        "finish_reason": None,
        "token_ids": None,
    }
    return {
        "id": "chatcmpl-8f1d2a64c3e94b7fb5a0c6d7e8f90123",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "Qwen/Qwen3-8B",
        "choices": [choice],
    }


class Served(NamedTuple):
    """A way to ask: where, and the processes that answer."""

    port: int
    processes: tuple[int, ...]


class Ways(NamedTuple):
    """The ways to ask, and the identity of those that seal."""

    plain: Served
    in_process: Served
    sidecar: Served
    identity: str


@contextlib.contextmanager
def all_processes(folder: Path) -> Iterator[Ways]:
    """Start both engines and the sidecar, and end them. ``folder`` is for their key."""
    key = IdentityKey.generate()
    path = folder / "identity.pem"
    path.touch(mode=0o600)
    path.write_bytes(key.to_pem())
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        inherited = {it: os.environ[it] for it in os.environ if it[:3] != "SG_"}
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**inherited, "SG_IDENTITY_KEY_FILE": str(path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return process

    try:
        engine = start("-m", __name__, "plain")
        protected = start("-m", __name__, "protected")
        port = _port_of(engine)
        sidecar = start(
            *("-c", "from stainedglass_output_protection.apps.cli import main; main()"),
            *("sidecar", "--upstream", f"http://127.0.0.1:{port}", "--port", "0"),
        )
        yield Ways(
            Served(port, (engine.pid,)),
            Served(_port_of(protected), (protected.pid,)),
            Served(_port_of(sidecar), (engine.pid, sidecar.pid)),
            key.fingerprint,
        )
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process that is measured did not start")
    return int(line.rpartition(":")[2])


if __name__ == "__main__":
    main(sys.argv[1:])
