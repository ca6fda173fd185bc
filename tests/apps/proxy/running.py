"""Puts a proxy, or any application, on a loopback port for as long as a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from stainedglass_output_protection.apps.forwarding import Limits
from stainedglass_output_protection.apps.listening import Address
from stainedglass_output_protection.apps.proxy.access import Rules
from stainedglass_output_protection.apps.proxy.application import make_proxy
from stainedglass_output_protection.apps.proxy.upstream import connect
from stainedglass_output_protection.apps.serving import config_of
from stainedglass_output_protection.client.protection import Protection

HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Running:
    """Where a proxy is."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def v1(self) -> str:
        """What OpenAI's SDKs take as base URL."""
        return f"{self.url}/v1"


_ending: list[threading.Thread] = []


@contextlib.contextmanager
def served(config: uvicorn.Config) -> Iterator[int]:
    """Serve in a thread, and yield the port.

    It ends after the block: uvicorn takes some tenths of a second for that, in which
    the next test may run. ``wait_for_the_ending`` waits.
    """
    server = uvicorn.Server(config)
    listener = Address("127.0.0.1", 0, who="A test").listen()
    thread = threading.Thread(
        target=asyncio.run, args=[server.serve(sockets=[listener])]
    )
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        _ending.append(thread)


def wait_for_the_ending() -> None:
    """Return when everything has ended whose block has."""
    while _ending:
        _ending.pop().join()


def served_app(app: Any) -> contextlib.AbstractContextManager[int]:
    """Serve an application that stands for a server."""
    return served(uvicorn.Config(app, log_level="error", lifespan="off"))


@contextlib.contextmanager
def serve(fake: Any) -> Iterator[Any]:
    """Serve one of the client's servers."""
    with served_app(fake) as port:
        fake.base_url = f"http://127.0.0.1:{port}/v1"
        yield fake


@contextlib.contextmanager
def proxied(
    url: str,
    protection: Protection,
    *,
    rules: Rules | None = None,
    limits: Limits | None = None,
    ca_file: Path | None = None,
    grace_s: int = 10,
    http: Any = None,
    **choices: Any,
) -> Iterator[Running]:
    """Run the proxy of ``sg-vllm proxy`` in this process."""
    app = make_proxy(
        connect(url, protection, ca_file=ca_file),
        rules or Rules(HOSTS),
        limits=limits or Limits(),
        **choices,
    )
    with served(config_of(app, grace_s=grace_s, http=http)) as port:
        yield Running(port)


def unused_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
