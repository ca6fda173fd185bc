"""Clean ``SG_`` variables, an identity file, a small app like vLLM's, and a client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey


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
