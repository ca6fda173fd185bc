"""The processes that the proxy is measured with: ``python -m benchmarks.proxy_processes``.

``server`` serves one application twice, plain and within the protection; ``nothing`` is
a reverse proxy as everybody writes it, which does nothing else. The third is the command
``sg-vllm proxy`` itself. Each prints the line with its ports when it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from benchmarks.harness import key_ring
from stainedglass_output_protection.server.middleware import ProtectionMiddleware
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.replay_store import ReplayStore

PATH = "/v1/chat/completions"
PERIOD_S = 0.2
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8")]
_BEFORE = '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'


def main(arguments: list[str]) -> None:
    """Serve until the process is ended."""
    if arguments[0] == "server":
        store = ReplayStore(None)
        plain = Starlette(routes=[Route(PATH, _Streams(), methods=["POST"])])
        protected = ProtectionMiddleware(
            plain,
            Options(),
            ring_of=lambda scope: key_ring(),
            replay_store=lambda: store,
        )
        apps: list[Any] = [plain, protected]
        told = {"identity": key_ring().identity.fingerprint}
    else:
        apps = [_do_nothing(arguments[1])]
        told = {}
    _serve(apps, told)


class _Streams:
    """Streams as many events as it is asked for, each with the time it was sent at."""

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
        due = time.monotonic()
        for number in range(asked["events"]):
            due += PERIOD_S if number else 0
            await asyncio.sleep(max(0, due - time.monotonic()))
            choices = f'"choices":[{{"index":0,"delta":{{"content":"{number}@{time.monotonic():.6f};"}}}}]}}'
            event = f"data: {_BEFORE}{choices}\n\n".encode()
            await send({"type": "http.response.body", "body": event, "more_body": True})
        end = b"data: [DONE]\n\n"
        await send({"type": "http.response.body", "body": end, "more_body": False})


def _do_nothing(url: str) -> Any:
    client = httpx2.AsyncClient(
        base_url=url, limits=httpx2.Limits(max_connections=None), timeout=None
    )

    async def forward(request: Request) -> StreamingResponse:
        sent = client.build_request(
            request.method,
            request.url.path,
            headers={"content-type": "application/json"},
            content=await request.body(),
        )
        answer = await client.send(sent, stream=True)

        async def body() -> AsyncIterator[bytes]:
            async for chunk in answer.aiter_raw():
                yield chunk
            await answer.aclose()

        return StreamingResponse(
            body(), answer.status_code, {"content-type": answer.headers["content-type"]}
        )

    return Starlette(routes=[Route("/{path:path}", forward, methods=["POST"])])


def _serve(apps: list[Any], told: dict[str, Any]) -> None:
    servers = []
    ports = []
    for app in apps:
        # With its protocol named, asyncio sends small events at once.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        ports.append(listener.getsockname()[1])
        config = uvicorn.Config(
            app, lifespan="off", log_level="error", timeout_keep_alive=60
        )
        servers.append((uvicorn.Server(config), listener))
    print(json.dumps({"ports": ports, **told}), flush=True)

    async def all_of_them() -> None:
        await asyncio.gather(
            *(server._serve(sockets=[listener]) for server, listener in servers)
        )

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(all_of_them())


class Processes:
    """Where everything listens, for as long as the block lasts."""

    plain: int
    protected: int
    nothing: int
    proxy: int


@contextlib.contextmanager
def all_processes() -> Iterator[Processes]:
    """Start the server, both proxies, and end them."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    def first_line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("a process that is measured did not start")
        return line

    found = Processes()
    try:
        told = json.loads(first_line(start("-m", __name__, "server")))
        found.plain, found.protected = told["ports"]
        plain = f"http://127.0.0.1:{found.plain}"
        other = start("-m", __name__, "nothing", plain)
        found.nothing = json.loads(first_line(other))["ports"][0]
        proxy = start(
            *("-c", "from stainedglass_output_protection.apps.cli import main; main()"),
            *("proxy", f"http://127.0.0.1:{found.protected}", "--port", "0"),
            *("--identity", told["identity"]),
        )
        found.proxy = int(first_line(proxy).rpartition(":")[2])
        yield found
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


if __name__ == "__main__":
    main(sys.argv[1:])
