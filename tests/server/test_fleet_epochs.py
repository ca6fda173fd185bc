"""Epochs of a fleet: replicas agree, skewed clocks meet, jumping ones stop."""

from __future__ import annotations

import hmac

import pytest

from stainedglass_output_protection.errors import (
    ConfigurationError,
    KeysUnavailableError,
)
from stainedglass_output_protection.protocol.ratchet import Ratchet
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_epochs import (
    MAX_CATCH_UP,
    FleetEpochs,
    require_near,
)
from stainedglass_output_protection.server.fleet_secret import FleetSecret
from stainedglass_output_protection.server.key_ring import EpochKey, KeyRing
from tests.rings import HOUR, Clocks, ring_of_source

MINUTE = 60_000
START = 1_800_000_000_000
FLEET = FleetSecret(START, EpochTimes(HOUR), 7, b"fleet secret of 32 bytes, or so!")
BASE = FLEET.start_of(7)


def replica(clocks: Clocks, fleet: FleetSecret = FLEET) -> KeyRing:
    source = FleetEpochs(fleet, clocks.now, elapsed=clocks.elapsed)
    return ring_of_source(source, clocks)


def key_id(key: EpochKey) -> bytes:
    return key.statement.key_id


def expand(secret: bytes, label: bytes) -> bytes:
    """HKDF-Expand for one block, written out."""
    return hmac.digest(secret, label + b"\x01", "sha256")


def test_the_ratchet_is_the_specification_s() -> None:
    secret = FLEET.secret
    ratchet = Ratchet(7, secret)
    for index in range(7, 12):
        assert ratchet.index == index
        assert ratchet.take() == expand(secret, b"sgop1 epoch secret")
        secret = expand(secret, b"sgop1 ratchet")
        assert ratchet.reveal() == secret
    ratchet.skip_to(3)
    assert (ratchet.index, ratchet.reveal()) == (12, secret)
    assert repr(secret)[2:-1] not in repr(ratchet)


def test_replicas_agree_whenever_they_started() -> None:
    clocks = Clocks(BASE)
    first = replica(clocks)
    for hours in range(5):
        late = replica(clocks)
        mine, yours = first.current(clocks.now), late.current(clocks.now)
        assert key_id(mine) == key_id(yours)
        assert mine.statement.epoch == BASE + hours * HOUR
        assert mine.retires_at == BASE + (hours + 2) * HOUR
        clocks.go(HOUR)


def test_the_next_key_is_made_half_a_period_early_and_answers_when_it_begins() -> None:
    clocks = Clocks(BASE)
    early, on_time = replica(clocks), replica(clocks)
    assert early.next_tick_ms(clocks.now) == HOUR // 2
    next_id = key_id(replica(Clocks(BASE + HOUR)).current(BASE + HOUR))
    clocks.go(HOUR // 2 - 1)
    assert early.by_id(next_id, clocks.now) is None
    clocks.go(1)
    early.tick(clocks.now)
    assert early.by_id(next_id, clocks.now) is not None
    assert early.current(clocks.now).statement.epoch == BASE
    assert early.next_tick_ms(clocks.now) == HOUR // 2
    # Found even where the tick is late.
    assert on_time.by_id(next_id, clocks.now) is not None
    assert early.current(clocks.go(HOUR // 2)).statement.epoch == BASE + HOUR


@pytest.mark.parametrize("skew", [HOUR // 2, 0, -HOUR])
def test_what_is_sealed_to_one_replica_opens_on_one_whose_clock_differs(
    skew: int,
) -> None:
    clocks = Clocks(BASE + 4 * HOUR)
    other_clocks = Clocks(BASE + 4 * HOUR - skew)
    ring, other = replica(clocks), replica(other_clocks)
    for _ in range(30):
        sealed_to = ring.current(clocks.now)
        found = other.by_id(key_id(sealed_to), other_clocks.now)
        assert found is not None
        assert found.public_key == sealed_to.public_key
        clocks.go(HOUR // 10)
        other_clocks.go(HOUR // 10)


def test_keys_retire_at_the_boundary_and_ticks_are_there() -> None:
    clocks = Clocks(BASE + 3 * HOUR)
    ring = replica(clocks)
    waits = []
    for _ in range(8):
        waits.append(ring.next_tick_ms(clocks.now))
        clocks.go(waits[-1])
        ring.tick(clocks.now)
        offset = clocks.now - BASE
        held = sorted(key.statement.epoch - BASE for key in ring._keys.values())
        current = offset // HOUR * HOUR
        ahead = [current + HOUR] if offset % HOUR else []
        assert held == [current - HOUR, current, *ahead]
    assert waits == [HOUR // 2] * 8


def test_catching_up_is_bounded() -> None:
    fleet = FleetSecret(START, EpochTimes(1000), 0, FLEET.secret)
    edge = START + (MAX_CATCH_UP + 2) * 1000 - 1
    require_near(fleet, edge)
    with pytest.raises(ConfigurationError, match="sg-vllm keys advance"):
        FleetEpochs(fleet, edge + 1)
    with pytest.raises(ConfigurationError, match="SG_FLEET_SECRET_FILE"):
        require_near(fleet, edge + 1)


def test_catching_up_from_an_old_base_gives_the_same_keys() -> None:
    clocks = Clocks(BASE + 100_000 * HOUR)
    ratchet = Ratchet(7, FLEET.secret)
    ratchet.skip_to(100_000)
    near = FleetSecret(START, FLEET.times, 100_000, ratchet.reveal())
    assert key_id(replica(clocks).current(clocks.now)) == key_id(
        replica(clocks, near).current(clocks.now)
    )


def test_a_clock_that_jumps_forward_stops_the_ratchet_until_it_is_right(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks = Clocks(BASE)
    ring = replica(clocks)
    key = ring.current(clocks.now)
    clocks.go(10 * MINUTE)
    clocks.set_wall_by(100 * HOUR)
    for _ in range(3):
        with pytest.raises(KeysUnavailableError, match="jumped forward"):
            ring.current(clocks.now)
        with pytest.raises(KeysUnavailableError):
            ring.by_id(key_id(key), clocks.now)
        with pytest.raises(KeysUnavailableError):
            ring.tick(clocks.now)
    assert len(caplog.records) == 1
    assert "restart the server" in caplog.text
    clocks.set_wall_by(-100 * HOUR)
    assert ring.current(clocks.now) is key
    ring.tick(clocks.go(HOUR))
    assert ring.current(clocks.now).statement.epoch == BASE + HOUR
    assert "usable epoch keys again" in caplog.records[-1].message


def test_keys_retire_by_the_time_that_passes_while_the_clock_is_wrong() -> None:
    clocks = Clocks(BASE)
    ring = replica(clocks)
    clocks.set_wall_by(100 * HOUR)
    clocks.go(2 * HOUR)
    with pytest.raises(KeysUnavailableError):
        ring.tick(clocks.now)
    assert not ring._keys
    clocks.set_wall_by(-100 * HOUR)
    assert ring.current(clocks.now).statement.epoch == BASE + 2 * HOUR


def test_a_small_step_forward_is_no_jump() -> None:
    clocks = Clocks(BASE)
    ring = replica(clocks)
    ring.tick(clocks.set_wall_by(5 * MINUTE))
    clocks.go(HOUR)
    ring.tick(clocks.set_wall_by(5 * MINUTE))
    clocks.set_wall_by(5 * MINUTE + 1)
    with pytest.raises(KeysUnavailableError):
        ring.tick(clocks.now)


def test_erased_epochs_do_not_come_back_when_the_clock_goes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks = Clocks(BASE + 10 * HOUR)
    ring = replica(clocks)
    clocks.set_wall_by(-3 * HOUR)
    for _ in range(3):
        with pytest.raises(KeysUnavailableError, match="do not come back"):
            ring.current(clocks.now)
    ring.tick(clocks.now)
    assert len(caplog.records) == 1
    assert "2027-" in caplog.text
    # The clock comes forward again, which is no jump: it is where it was.
    clocks.set_wall_by(3 * HOUR)
    assert ring.current(clocks.now).statement.epoch == BASE + 10 * HOUR


def test_a_key_that_was_kept_answers_when_the_clock_goes_back_a_little() -> None:
    clocks = Clocks(BASE + 10 * HOUR)
    ring = replica(clocks)
    assert ring.current(clocks.set_wall_by(-1)).statement.epoch == BASE + 9 * HOUR


def test_a_server_starts_before_the_base_epoch_and_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks = Clocks(BASE - HOUR)
    ring = replica(clocks)
    with pytest.raises(KeysUnavailableError):
        ring.current(clocks.now)
    clocks.go(HOUR // 2)
    ring.tick(clocks.now)
    with pytest.raises(KeysUnavailableError):
        ring.current(clocks.now)
    assert len(caplog.records) == 1
    assert ring.current(clocks.go(HOUR // 2)).statement.epoch == BASE


def test_no_secret_shows() -> None:
    clocks = Clocks(BASE)
    source = FleetEpochs(FLEET, clocks.now, elapsed=clocks.elapsed)
    shown = repr((FLEET, source.live(clocks.now), source))
    assert "fleet secret of 32" not in shown
