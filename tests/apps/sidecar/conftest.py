"""A sidecar's environment: no variables but its identity."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey
from tests.asgi.applications import Identity


@pytest.fixture(autouse=True)
def identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Identity:
    """The sidecar's identity, which its variable names."""
    for name in list(os.environ):
        if name.startswith(("SG_", "OPENAI_")):
            monkeypatch.delenv(name)
    # It must not be heeded: what goes to the engine is plaintext.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    key = IdentityKey.generate()
    path = tmp_path / "identity.pem"
    path.write_bytes(key.to_pem())
    path.chmod(0o600)
    monkeypatch.setenv("SG_IDENTITY_KEY_FILE", str(path))
    return Identity(path, key.fingerprint)
