"""Fixtures: a fake server in memory, and one on a loopback port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.drivers import Driver, all_drivers
from tests.client.fake_server import FakeServer, serve


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SG_SERVER_IDENTITY", "SG_CLIENT_PUBLIC_KEY_HEADER_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def fake() -> FakeServer:
    """A server that is asked through a driver of ``drivers.py``."""
    return FakeServer()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server on a loopback port."""
    with serve(FakeServer()) as running:
        yield running


@pytest.fixture(params=all_drivers(), ids=str)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each library, sync and async."""
    made: Driver = request.param
    return Driver(made.library, made.is_async)
