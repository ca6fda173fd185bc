"""Metrics and documents of a protected app, and a folder for metrics that is refused."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epoch_table import Table
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_secret import FleetSecret, fleet_text

ROOT = Path(__file__).resolve().parents[2]
HAS_VLLM = importlib.util.find_spec("vllm") is not None
COMMAND = "from stainedglass_output_protection.apps.cli import main; main()"


@pytest.mark.skipif(not HAS_VLLM, reason="needs vLLM to get so far")
@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("", "is set to nothing"),
        ("{}/nowhere", "not a folder"),
        ("{}/file", "not a folder"),
        ("/proc", "metrics cannot be kept in '/proc'"),
        ("{}/a\nb", "not a folder"),
        ("{}/foreign", "a .db file in it is of no metrics"),
    ],
)
def test_a_folder_that_cannot_be_used_keeps_the_server_from_starting(
    tmp_path: Path, folder: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "counter_1.db").write_bytes(b"garbage, not a database")
    environ = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": folder.format(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "serve", "model"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=environ,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert "PROMETHEUS_MULTIPROC_DIR" in done.stderr
    assert reason in done.stderr
    assert "or unset it." in done.stderr


SHOWN = """
from argparse import Namespace
from fastapi import FastAPI
import prometheus_client
from stainedglass_output_protection.vllm.metrics import show
from stainedglass_output_protection.vllm.protection import protecting
def build(args):
    app = FastAPI()
    app.post("/v1/chat/completions")(lambda: None)
    return app
app = protecting(build)(Namespace(api_server_count=None))
show(app)
assert "client_key_missing" in str(app.openapi())
from starlette.testclient import TestClient
with TestClient(app) as client:
    assert client.post("/v1/chat/completions").status_code == 400
    ready = client.get("/.well-known/output-protection/ready")
    assert ready.status_code == 200, ready.text
text = prometheus_client.generate_latest().decode()
for start in ("refusals_total{code=\\"client_key_missing", "live_keys"):
    print(*[it for it in text.splitlines() if it.startswith("output_protection_" + start)])
"""


def test_a_protected_app_counts_into_the_library_s_own_registry() -> None:
    pytest.importorskip("fastapi")
    done = subprocess.run(
        [sys.executable, "-c", SHOWN],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={name: it for name, it in os.environ.items() if not name.startswith("SG_")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        'output_protection_refusals_total{code="client_key_missing"} 1.0',
        "output_protection_live_keys 1.0",
    ]


ROTATION = """
import logging, os, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
from pathlib import Path
from stainedglass_output_protection.hosting.settings import load_settings
from stainedglass_output_protection.hosting.rotation import rotation
given = sys.argv[1]
path = Path(given) if given else None
rotation(load_settings(), path, who_answers="The server answers")()
"""


@pytest.mark.parametrize("in_fleet", [False, True])
def test_the_signal_adds_an_epoch_or_names_the_command_for_a_fleet(
    tmp_path: Path, in_fleet: bool
) -> None:
    table = tmp_path / "epochs"
    table.write_bytes(Table().encode())
    fleet = FleetSecret(unix_ms(), EpochTimes(3_600_000), 0, bytes(range(32)))
    files = {
        "SG_FLEET_SECRET_FILE": (tmp_path / "fleet.key", fleet_text(fleet)),
        "SG_IDENTITY_KEY_FILE": (tmp_path / "id.pem", IdentityKey.generate().to_pem()),
    }
    environ = dict(os.environ)
    for variable, (path, content) in files.items():
        path.touch(mode=0o600)
        path.write_bytes(content)
        if in_fleet:
            environ[variable] = str(path)
    done = subprocess.run(
        [sys.executable, "-c", ROTATION, "" if in_fleet else str(table)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    epochs = Table.decode(table.read_bytes()).epochs
    if in_fleet:
        assert f"sg-vllm keys advance {tmp_path}/fleet.key" in done.stdout
        assert epochs == ()
    else:
        assert "SIGUSR1: new epoch keys." in done.stdout
        assert len(epochs) == 1
