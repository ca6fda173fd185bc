"""Clean ``SG_`` variables, an identity file, a small app like vLLM's, and a client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_secret import (
    FleetSecret,
    fleet_text,
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start every test without our variables, and undo what code under test sets."""
    for name in list(os.environ):
        if name.startswith("SG_") or name == "VLLM_PLUGINS":
            monkeypatch.delenv(name)
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture
def identity_file(tmp_path: Path) -> Path:
    """A good identity file."""
    path = tmp_path / "identity.pem"
    path.write_bytes(IdentityKey.generate().to_pem())
    path.chmod(0o600)
    return path


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    """A good file with a fleet's secret: a period of 90 s, an overlap of 2."""
    path = tmp_path / "fleet"
    fleet = FleetSecret.generate(EpochTimes(90_000, 2), unix_ms())
    path.write_bytes(fleet_text(fleet))
    path.chmod(0o600)
    return path
