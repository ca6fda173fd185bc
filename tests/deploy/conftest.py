"""Keys as the examples want them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SG_VLLM = str(Path(sys.executable).with_name("sg-vllm"))


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name in list(os.environ):
        if name.startswith("SG_") and not name.startswith("SG_TEST_"):
            monkeypatch.delenv(name)
        elif name.lower() in proxies:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in whose ``keys/`` the identity and the fleet's secret lie."""
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "keys").mkdir()
    for kind, name in (("--identity", "identity.pem"), ("--fleet", "fleet.key")):
        path = folder / "keys" / name
        subprocess.run(
            [SG_VLLM, "keys", "generate", kind, str(path)],
            check=True,
            capture_output=True,
            timeout=120,
        )
        # As a secret is mounted.
        path.chmod(0o400)
    return folder
