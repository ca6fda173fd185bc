"""Clean ``SG_`` variables, identities and a fleet's secret in files, started servers."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_secret import FleetSecret, fleet_text
from tests.asgi.applications import Identity
from tests.asgi.asking import client_of, sdk_of
from tests.asgi.serving import Process, process_of

# The Python of an environment with EasyDeL and this package's [server] in it.
PYTHONS = {
    "stand-in": sys.executable,
    "easydel": os.environ.get("SG_TEST_EASYDEL_PYTHON", ""),
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SG_", "OPENAI_")):
            monkeypatch.delenv(name)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    """A server's identity, in a file that nobody else may read."""
    key = IdentityKey.generate()
    path = tmp_path / "identity.pem"
    path.write_bytes(key.to_pem())
    path.chmod(0o600)
    return Identity(path, key.fingerprint)


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    """A fleet's secret, in a file that nobody else may read."""
    path = tmp_path / "fleet"
    path.write_bytes(fleet_text(FleetSecret.generate(EpochTimes(90_000, 2), unix_ms())))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="package")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """The identity of all servers here."""
    key = IdentityKey.generate()
    path = tmp_path_factory.mktemp("identity") / "identity.pem"
    path.write_bytes(key.to_pem())
    path.chmod(0o600)
    return Identity(path, key.fingerprint)


@pytest.fixture(scope="package", params=list(PYTHONS))
def maker(request: pytest.FixtureRequest) -> str:
    """Whose server it is."""
    if not PYTHONS[request.param]:
        pytest.skip("SG_TEST_EASYDEL_PYTHON names no Python with EasyDeL")
    return str(request.param)


@pytest.fixture(scope="package")
def start(
    maker: str, owned: Identity, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], contextlib.AbstractContextManager[Process]]:
    """Starts one by its own ``run``; protected, its keys are renewed each 0.3 s."""

    def started(way: str) -> contextlib.AbstractContextManager[Process]:
        log = tmp_path_factory.mktemp("server") / "log"
        where = {"SG_IDENTITY_KEY_FILE": str(owned.path)}
        return process_of(PYTHONS[maker], maker, way, log, **where)

    return started


@pytest.fixture(scope="package")
def url(start: Any) -> Iterator[str]:
    """Where it is protected."""
    with start("protected") as server:
        yield server.url


@pytest.fixture(scope="package")
def bare(start: Any) -> Iterator[str]:
    """Where it is without protection."""
    with start("bare") as server:
        yield server.url


@pytest.fixture(scope="package", params=["sealed", "output"])
def client(request: pytest.FixtureRequest, url: str, owned: Identity) -> Iterator[Any]:
    """A client of each profile, for ``url`` only."""
    with client_of(owned, request.param) as made:
        yield made


@pytest.fixture
def sdk(url: str, client: Any) -> openai.OpenAI:
    return sdk_of(url, client)
