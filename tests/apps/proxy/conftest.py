"""Fixtures: a protected server on a loopback port, and a proxy in front of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.proxy.certificates import certificate
from tests.apps.proxy.running import Running, proxied, serve, wait_for_the_ending
from tests.client.drivers import protection_for
from tests.client.sealed_server import SealedServer


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one authority: to read all those of the Web takes 25 ms each time."""
    return certificate(tmp_path_factory.mktemp("authorities"), "nobody")[0]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, authorities: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("SG_", "OPENAI_", "ANTHROPIC_")):
            monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))


@pytest.fixture(autouse=True, scope="session")
def _ended() -> Iterator[None]:
    yield
    wait_for_the_ending()


@pytest.fixture
def server() -> Iterator[SealedServer]:
    """A protected server."""
    sealed = SealedServer()
    with serve(sealed):
        yield sealed


@pytest.fixture
def proxy(server: SealedServer) -> Iterator[Running]:
    """A proxy that has pinned the server."""
    with proxied(server.base_url, protection_for(server)) as running:
        yield running
