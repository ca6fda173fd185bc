"""The text form of a fleet's secret: what is read, and what a damaged one gives."""

from __future__ import annotations

import pytest

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.encoding import encode_base64
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_secret import (
    FleetSecret,
    fleet_text,
    parse_fleet_text,
)

NOW = 1_800_000_000_000
FLEET = FleetSecret(NOW, EpochTimes(60_000, 3), 42, b"fleet secret of 32 bytes, or so!")


def test_what_was_written_is_read() -> None:
    found = parse_fleet_text(fleet_text(FLEET))
    assert found.fleet == FLEET
    assert found.is_settled
    for place in found.slots:
        slot = found.slot_for(FLEET.index, FLEET.secret)
        assert fleet_text(FLEET)[place:].startswith(slot + b"\n")


def test_epochs_lie_where_the_specification_says() -> None:
    assert FLEET.start_of(50) == NOW + 50 * 60_000
    assert FLEET.index_at(NOW + 50 * 60_000) == 50
    assert FLEET.index_at(NOW + 50 * 60_000 - 1) == 49
    # Epoch 46 retires where 50 begins: it has lived for four periods.
    assert FLEET.oldest_live_at(NOW + 50 * 60_000) == 47
    assert FLEET.oldest_live_at(NOW + 50 * 60_000 - 1) == 46


def test_a_fresh_one_has_begun_and_is_random() -> None:
    one, other = (FleetSecret.generate(EpochTimes(60_000), NOW) for _ in range(2))
    assert one.secret != other.secret
    assert one.start_of(one.index) < NOW
    assert one.oldest_live_at(NOW) >= one.index
    with pytest.raises(ConfigurationError, match="at least 1 second"):
        FleetSecret.generate(EpochTimes(999), NOW)


def test_one_torn_slot_loses_nothing_whichever_it_is() -> None:
    later = FleetSecret(NOW, FLEET.times, 99, bytes(32))
    text = fleet_text(FLEET)
    found = parse_fleet_text(text)
    slot = found.slot_for(later.index, later.secret)
    for place in found.slots:
        for written in range(len(slot) + 1):
            torn = text[:place] + slot[:written] + text[place + written :]
            read = parse_fleet_text(torn)
            whole = written == len(slot)
            assert read.fleet == (later if whole else FLEET)
            if written > 20:
                assert not read.is_settled


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"",
        lambda text: text[:-1],
        lambda text: text + b"\n",
        lambda text: text.replace(b"fleet 1", b"fleet 2"),
        lambda text: text.replace(b"period_ms=60000", b"period_ms=60001"),
        lambda text: text.replace(b"overlap=3", b"overlap=4"),
        lambda text: text.replace(b"anchor_ms=1", b"anchor_ms=2"),
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"00000042 ", b"00000041 "),
        lambda text: text.replace(
            encode_base64(FLEET.secret), encode_base64(bytes(32))
        ),
    ],
)
def test_what_is_damaged_or_changed_by_hand_is_refused(change: object) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_fleet_text(change(fleet_text(FLEET)))  # type: ignore[operator]
    assert encode_base64(FLEET.secret).decode() not in str(raised.value)


def test_no_secret_shows() -> None:
    shown = repr((FLEET, parse_fleet_text(fleet_text(FLEET))))
    assert "fleet secret of" not in shown
    assert encode_base64(FLEET.secret).decode() not in shown
