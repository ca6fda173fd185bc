"""Fixtures: a protected server with a gateway in front of it, and the command."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stainedglass_output_protection.apps import cli
from stainedglass_output_protection.apps.doctor import check_streams
from stainedglass_output_protection.server import provoked_error
from stainedglass_output_protection.server.key_ring import KeyRing
from tests.apps.doctor.certificates import self_signed
from tests.apps.doctor.engine import Engine
from tests.gateways import upstream as upstream_module
from tests.gateways.simulator import Gateway
from tests.gateways.upstream import Upstream, running


@dataclass
class Report:
    """What one run of the command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.out)
        return said

    def of(self, *outcomes: str) -> dict[str, str]:
        """Return what was seen by the checks with these outcomes."""
        checks = self.json["checks"]
        return {it["name"]: it["seen"] for it in checks if it["outcome"] in outcomes}

    @property
    def faults(self) -> dict[str, str]:
        return self.of("fault")

    @property
    def findings(self) -> dict[str, str]:
        return self.of("warning", "fault")

    def is_one_sentence(self, status: int) -> bool:
        """Tell whether it ended as bad input has to."""
        lines = self.err.splitlines()
        is_clear = len(lines) == 1 and lines[0].startswith("sg-vllm: ")
        return self.status == status and is_clear and "Traceback" not in self.err


Examine = Callable[..., Report]


def engine_of(server: Upstream) -> Engine:
    """Return the application of a server."""
    assert isinstance(server.app, Engine)
    return server.app


def url_of(server: Upstream) -> str:
    """Return the base URL of a server."""
    return f"http://127.0.0.1:{server.port}/v1"


def known_servers(home: Path, line: str) -> None:
    """Write the file of known servers of the user whose home this is."""
    folder = home / ".config" / "stainedglass-output-protection"
    folder.mkdir(parents=True)
    (folder / "known_servers").write_text(f"{line}\n")


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one certificate: to read the usual ones takes longer than most tests."""
    file = tmp_path_factory.mktemp("tls") / "authority.pem"
    certificate, _ = self_signed()
    file.write_bytes(certificate)
    return file


@pytest.fixture(autouse=True)
def _plain_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, one_authority: Path
) -> None:
    for name in list(os.environ):
        if name.startswith("SG_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(one_authority))


@pytest.fixture(autouse=True)
def _errors_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every test is a run of its own, and a server gives one error a minute.
    monkeypatch.setattr(provoked_error, "_APART_S", 0.0)


@pytest.fixture
def examine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Examine:
    """Runs ``sg-vllm doctor``."""

    # The engine answers at once, so whatever takes time here is a busy machine. What
    # times tell is in test_timing.py.
    monkeypatch.setattr(check_streams, "_LEAST_S", math.inf)

    def run(*words: str) -> Report:
        monkeypatch.setattr(sys, "argv", ["sg-vllm", "doctor", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return Report(ended.value.code, *capsys.readouterr())

    return run


@contextlib.contextmanager
def serving(*, ring: KeyRing | None = None, **options: Any) -> Iterator[Upstream]:
    """A protected server on a port, with an ``Engine`` as its application."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream_module, "Application", Engine)
        upstream = Upstream(ring, **options)
    with running(upstream):
        yield upstream


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    """A protected server, for the tests that leave it as it is."""
    with serving() as upstream:
        yield upstream


@pytest.fixture
def gateway(server: Upstream) -> Iterator[Gateway]:
    """A gateway in front of it, without faults so far."""
    with Gateway(server.port) as made:
        yield made
