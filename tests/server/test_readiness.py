"""What a probe is told: 200 with the key in force, 503 with the reason why none is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.server import readiness
from stainedglass_output_protection.server.epoch_table import Table
from stainedglass_output_protection.server.epochs import EpochSource, EpochTimes
from stainedglass_output_protection.server.fleet_epochs import FleetEpochs
from stainedglass_output_protection.server.fleet_secret import FleetSecret
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.middleware import ProtectionMiddleware
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from stainedglass_output_protection.server.shared_epochs import SharedEpochs
from tests.asgi_driver import body_of, header_of
from tests.rings import HOUR, IDENTITY, Clocks, own_ring, ring_of_source
from tests.server.asking import Recorder, ask, code_of

PATH = "/.well-known/output-protection/ready"
TIMES = EpochTimes(HOUR)


def sources(folder: Path, clocks: Clocks) -> dict[str, EpochSource]:
    table = folder / "epochs"
    table.write_bytes(Table().encode())
    fleet = FleetSecret(clocks.now, TIMES, 0, bytes(32))
    return {
        "process": OwnEpochs(TIMES, elapsed=clocks.elapsed),
        "server": SharedEpochs(table, TIMES, elapsed=clocks.elapsed),
        "fleet": FleetEpochs(fleet, clocks.now, elapsed=clocks.elapsed),
    }


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """The clocks that the ring and the answer go by."""
    clocks = Clocks()
    monkeypatch.setattr(readiness, "unix_ms", lambda: clocks.now)
    return clocks


async def probe(ring: KeyRing, **asked: Any) -> tuple[int, Any]:
    app = Recorder()
    target = ProtectionMiddleware(app, Options(), ring_of=lambda scope: ring)
    sent = await ask(target, path=PATH, **{"method": "GET", **asked})
    assert app.calls == 0
    assert header_of(sent, b"cache-control") == [b"no-store"]
    return sent[0]["status"], json.loads(body_of(sent))


@pytest.mark.parametrize("mode", ["process", "server", "fleet"])
async def test_a_probe_without_a_key_sees_which_key_is_in_force(
    clocks: Clocks, tmp_path: Path, mode: str
) -> None:
    ring = ring_of_source(sources(tmp_path, clocks)[mode], clocks, identity=IDENTITY)
    clocks.go(90_000)
    status, members = await probe(ring)
    assert status == 200
    assert members == {
        "ready": True,
        "mode": mode,
        "key_id": ring.current(clocks.now).statement.key_id.hex(),
        "key_age_s": 90,
        "expires_in_s": 2 * 3600 - 90,
        "live_keys": 1,
    }


async def test_it_is_503_as_long_as_no_key_can_be_used_and_says_why(
    clocks: Clocks, tmp_path: Path
) -> None:
    source = sources(tmp_path, clocks)["server"]
    ring = ring_of_source(source, clocks)
    table = tmp_path / "epochs"
    good = table.read_bytes()
    table.unlink()
    # The key that is there serves until it retires.
    clocks.go(HOUR)
    assert (await probe(ring))[0] == 200
    clocks.go(HOUR)
    for _ in range(2):
        status, members = await probe(ring)
        assert status == 503
        assert members["ready"] is False
        assert "gone or damaged. Restart the server." in members["reason"]
    table.write_bytes(good)
    clocks.go(1000)
    assert (await probe(ring))[0] == 200


async def test_a_clock_that_jumped_is_a_reason(clocks: Clocks, tmp_path: Path) -> None:
    ring = ring_of_source(sources(tmp_path, clocks)["fleet"], clocks)
    clocks.set_wall_by(10 * 60_000)
    status, members = await probe(ring)
    assert status == 503
    assert "The clock jumped forward" in members["reason"]
    clocks.set_wall_by(-10 * 60_000)
    assert (await probe(ring))[0] == 200


async def test_a_server_whose_lifespan_has_not_run_is_not_ready() -> None:
    status, members = await probe(own_ring())
    assert (status, members["ready"]) == (503, False)


async def test_nobody_outside_reads_which_file_keeps_keys_from_being_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def none(scope: Any) -> KeyRing:
        raise KeysUnavailableError("SG_FLEET_SECRET_FILE: /run/secrets/fleet is gone.")

    target = ProtectionMiddleware(Recorder(), Options(), ring_of=none)
    sent = await ask(target, path=PATH, method="GET")
    assert sent[0]["status"] == 503
    said = "This server has no epoch keys. Its log says why."
    assert json.loads(body_of(sent))["reason"] == said
    assert "/run/secrets/fleet is gone" in caplog.text


async def test_a_provider_of_evidence_shows_nothing_of_what_it_raises(
    clocks: Clocks,
) -> None:
    def missing(digest: bytes) -> bytes:
        raise FileNotFoundError(2, "No such file", "/run/secrets/quote")

    ring = KeyRing(IDENTITY, OwnEpochs(TIMES), evidence=missing)
    with pytest.raises(KeysUnavailableError):
        ring.tick(clocks.now)
    status, members = await probe(ring)
    assert status == 503
    assert "SG_EVIDENCE_PROVIDER" in members["reason"]
    assert "quote" not in members["reason"]


async def test_head_has_the_same_length_and_other_methods_are_refused(
    clocks: Clocks, tmp_path: Path
) -> None:
    ring = ring_of_source(sources(tmp_path, clocks)["process"], clocks)
    target = ProtectionMiddleware(Recorder(), Options(), ring_of=lambda scope: ring)
    get = await ask(target, path=PATH, method="GET")
    head = await ask(target, path=PATH, method="HEAD")
    assert body_of(head) == b""
    assert get[0] == head[0]
    post = await ask(target, path=PATH, method="POST")
    assert code_of(post) == (405, "method_not_allowed")


async def test_it_is_found_below_a_root_path(clocks: Clocks, tmp_path: Path) -> None:
    ring = ring_of_source(sources(tmp_path, clocks)["process"], clocks)
    target = ProtectionMiddleware(Recorder(), Options(), ring_of=lambda scope: ring)
    sent = await ask(target, path=f"/below{PATH}", method="GET", root_path="/below")
    assert sent[0]["status"] == 200
