"""Signals to the command: new keys, and the end, also in a fleet's first minute."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from stainedglass_output_protection.hosting import start_barrier
from stainedglass_output_protection.server.clock import unix_ms
from tests.apps.sidecar.engines import Engine, answering, running
from tests.apps.sidecar.sidecars import READY, beside, command, posted
from tests.apps.sidecar.test_fleet import a_fleet_file
from tests.asgi.applications import ASK, CHAT, Identity, answer
from tests.asgi.serving import fetched

DOCUMENT = "/.well-known/output-protection"
_LIMIT_S = 90.0


def until(tells: Any) -> None:
    """Return when ``tells`` does so."""
    end = time.monotonic() + _LIMIT_S
    while not tells():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_sigusr1_makes_new_keys(identity: Identity) -> None:
    with (
        running(Engine(answering())) as engine,
        command("--upstream", engine.address, "--health-timeout", "60") as sidecar,
    ):
        first = fetched(sidecar.url + READY).json()["key_id"]
        sidecar.process.send_signal(signal.SIGUSR1)
        until(lambda: fetched(sidecar.url + READY).json()["key_id"] != first)
        told = posted(sidecar.url, identity, ASK)
        sidecar.stop()
        status, log = sidecar.ended()

    assert told.json() == answer()
    assert log.count("SIGUSR1: new epoch keys.") == 1
    assert status == 0


def test_a_fleet_s_replica_listens_before_it_is_ready(tmp_path: Path) -> None:
    file = a_fleet_file(tmp_path / "fleet")
    with (
        running(Engine(answering())) as engine,
        command("--upstream", engine.address, SG_FLEET_SECRET_FILE=str(file)) as it,
    ):
        it.process.send_signal(signal.SIGUSR1)
        document = fetched(it.url + DOCUMENT)
        ready = fetched(it.url + READY)
        it.stop()
        status, log = it.ended()

    # For liveness; on a machine that stood still for a minute it is ready by now.
    assert document.status_code == 200
    if ready.status_code == 503:
        assert re.fullmatch(r"Not ready for \d+ s\.", ready.json()["reason"])
    assert f"sg-vllm keys advance {file}" in log
    assert status == 0


def test_requests_before_the_time_are_refused_and_then_served(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_fleet_file(tmp_path / "fleet")
    monkeypatch.setenv("SG_FLEET_SECRET_FILE", str(file))
    monkeypatch.setattr(start_barrier, "_MARK_MS", unix_ms() + 3_600_000)
    with running(Engine(answering())) as engine, beside(engine.address) as sidecar:
        ready = sidecar.ready()
        refused = fetched(sidecar.url + CHAT, "POST", json=ASK)
        document = fetched(sidecar.url + DOCUMENT)
        assert not engine.asked
        monkeypatch.setattr(start_barrier, "_MARK_MS", 0)
        told = posted(sidecar.url, identity, ASK, profile="output")
        assert sidecar.ready() == (200, "")

    assert ready[0] == 503
    assert re.fullmatch(r"Not ready for 3\d\d\d s\.", ready[1])
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "keys_unavailable"
    assert document.json()["identity"] == identity.fingerprint
    assert told.json() == answer()
