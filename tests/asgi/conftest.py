"""Clean ``SG_`` variables, an identity in a file, and a fleet's file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_secret import FleetSecret, fleet_text
from tests.asgi.applications import Identity


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
