"""Fixtures: servers in memory and on a loopback port, in both profiles."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.client.drivers import Driver, all_drivers
from tests.client.fake_server import FakeServer, serve
from tests.client.sealed_server import SealedServer

SERVERS = {"output": FakeServer, "sealed": SealedServer}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SG_"):
            monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(params=SERVERS)
def fake(request: pytest.FixtureRequest) -> FakeServer:
    """A server of each profile that is asked through a driver of ``drivers.py``."""
    return SERVERS[request.param]()


@pytest.fixture
def sealed() -> SealedServer:
    """A server of profile ``sealed`` that is asked through a driver."""
    return SealedServer()


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    """A server of each profile on a loopback port."""
    with serve(SERVERS[request.param]()) as running:
        yield running


@pytest.fixture(params=all_drivers(), ids=str)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each library, sync and async."""
    made: Driver = request.param
    return Driver(made.library, made.is_async)
