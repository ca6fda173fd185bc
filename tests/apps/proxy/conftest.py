"""Fixtures: a protected server on a loopback port, and a proxy in front of it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.apps.proxy.running import Running, proxied
from tests.client.drivers import protection_for
from tests.client.fake_server import serve
from tests.client.sealed_server import SealedServer


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SG_", "OPENAI_", "ANTHROPIC_")):
            monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


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
