"""The fleet's file: what is refused, and how its base epoch moves on in place."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting import fleet as fleet_module
from stainedglass_output_protection.hosting.fleet import (
    advance_fleet_file,
    read_fleet_file,
)
from stainedglass_output_protection.protocol.encoding import encode_base64
from stainedglass_output_protection.protocol.ratchet import Ratchet
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_secret import (
    FleetSecret,
    fleet_text,
    parse_fleet_text,
)

HOUR = 3_600_000
START = 1_800_000_000_000
FLEET = FleetSecret(START, EpochTimes(HOUR), 5, b"fleet secret of 32 bytes, or so!")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "fleet"
    path.write_bytes(fleet_text(FLEET))
    path.chmod(0o600)
    return path


def secret_at(index: int) -> bytes:
    ratchet = Ratchet(FLEET.index, FLEET.secret)
    ratchet.skip_to(index)
    return ratchet.reveal()


def test_the_base_moves_to_the_oldest_epoch_that_lives_and_the_old_secret_goes(
    path: Path,
) -> None:
    inode, size = path.stat().st_ino, path.stat().st_size
    old, new = advance_fleet_file(path, START + 100 * HOUR)
    assert old == FLEET
    assert (new.index, new.secret) == (99, secret_at(99))
    found = read_fleet_file(path)
    assert found.fleet == new
    assert found.is_settled
    assert encode_base64(FLEET.secret) not in path.read_bytes()
    assert (path.stat().st_ino, path.stat().st_size) == (inode, size)
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["fleet"]


@pytest.mark.parametrize("hours", [-50, 0, 6])
def test_nothing_moves_while_the_base_lives_or_the_clock_is_behind(
    path: Path, hours: int
) -> None:
    before = path.read_bytes()
    old, new = advance_fleet_file(path, START + hours * HOUR)
    assert old == new == FLEET
    assert path.read_bytes() == before


class Crash(BaseException):
    """The machine goes down."""


@pytest.mark.parametrize("crash_at", range(170))
def test_a_crash_at_any_byte_loses_nothing_and_the_next_call_finishes(
    path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    before = len(fleet_text(FLEET))
    left = crash_at
    real = os.pwrite

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal left
        if left < len(data):
            real(descriptor, data[:left], offset)
            raise Crash
        left -= len(data)
        return real(descriptor, data, offset)

    monkeypatch.setattr(fleet_module.os, "pwrite", pwrite)
    try:
        advance_fleet_file(path, START + 100 * HOUR)
        crashed = False
    except Crash:
        crashed = True
    monkeypatch.undo()
    assert crashed == (crash_at < 2 * 82)
    found = parse_fleet_text(path.read_bytes()).fleet
    assert (found.index, found.secret) in [(5, FLEET.secret), (99, secret_at(99))]

    advance_fleet_file(path, START + 100 * HOUR)
    assert read_fleet_file(path).is_settled
    assert read_fleet_file(path).fleet.index == 99
    assert encode_base64(FLEET.secret) not in path.read_bytes()
    assert len(path.read_bytes()) == before


def test_the_first_slot_is_on_the_disk_before_the_second_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    real = os.pwrite
    monkeypatch.setattr(
        fleet_module.os,
        "pwrite",
        lambda *args: done.append("write") or real(*args),  # type: ignore[func-returns-value]
    )
    monkeypatch.setattr(fleet_module.os, "fsync", lambda _: done.append("sync"))
    advance_fleet_file(path, START + 100 * HOUR)
    assert done == ["write", "sync", "write", "sync"]


def test_two_calls_at_once_do_not_mix(path: Path) -> None:
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="another command"):
            advance_fleet_file(path, START + 100 * HOUR)
    assert read_fleet_file(path).fleet == FLEET


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.chmod(0o640), "others may read.*chmod 600"),
        (lambda path: path.write_bytes(b"x"), "not a fleet secret"),
        (lambda path: (path.unlink(), path.mkdir()), "directory"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
    ],
)
def test_a_file_that_is_refused_is_left_alone_and_named(
    path: Path, spoil: object, words: str
) -> None:
    spoil(path)  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match=f"{path}.*(?:{words})"):
        advance_fleet_file(path, START)
    with pytest.raises(ConfigurationError, match=f"SG_FLEET_SECRET_FILE.*(?:{words})"):
        read_fleet_file(path)


def test_a_secret_in_place_of_its_path_is_not_shown() -> None:
    text = fleet_text(FLEET).decode()
    with pytest.raises(ConfigurationError) as raised:
        read_fleet_file(Path(text))
    assert encode_base64(FLEET.secret).decode() not in str(raised.value)
