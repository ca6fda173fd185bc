"""Epochs that processes share by a file: one maker, exact retirement, no fallback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.hosting.private_files import make_private_file
from stainedglass_output_protection.server import shared_epochs
from stainedglass_output_protection.server.epoch_table import Table
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import EpochKey, KeyRing
from stainedglass_output_protection.server.shared_epochs import (
    LONGEST_LOOK_MS,
    SharedEpochs,
)
from tests.rings import HOUR, Clocks, ring_of_source

ROOT = Path(__file__).resolve().parents[2]
TIMES = EpochTimes(HOUR)


@pytest.fixture
def table() -> Iterator[Path]:
    """The file that ``sg-vllm`` hands to its children."""
    path = make_private_file("test", Table().encode())
    yield path
    if path.parts[1] == "proc":
        os.close(int(path.name))


def process(table: Path, clocks: Clocks, times: EpochTimes = TIMES) -> KeyRing:
    """Return the ring of one of the processes."""
    return ring_of_source(SharedEpochs(table, times, elapsed=clocks.elapsed), clocks)


def key_id(key: EpochKey) -> bytes:
    return key.statement.key_id


def test_all_processes_have_the_same_keys(table: Path) -> None:
    clocks = Clocks()
    first, second = process(table, clocks), process(table, clocks)
    for _ in range(5):
        mine, yours = first.current(clocks.now), second.current(clocks.now)
        assert mine.public_key == yours.public_key
        assert mine.document_text != ""
        assert key_id(mine) == key_id(yours)
        assert first.next_tick_ms(clocks.now) == second.next_tick_ms(clocks.now)
        clocks.go(HOUR)
        first.tick(clocks.now)
        second.tick(clocks.now)


def test_a_process_that_starts_later_ticks_with_the_others(table: Path) -> None:
    clocks = Clocks()
    first = process(table, clocks)
    clocks.go(HOUR // 3)
    second = process(table, clocks)
    assert key_id(second.current(clocks.now)) == key_id(first.current(clocks.now))
    assert second.next_tick_ms(clocks.now) == LONGEST_LOOK_MS
    second.tick(clocks.go(HOUR - HOUR // 3 - 500))
    assert second.next_tick_ms(clocks.now) == 500


def test_an_epoch_that_is_asked_for_answers_in_every_process_after_a_look(
    table: Path,
) -> None:
    clocks = Clocks()
    parent = SharedEpochs(table, TIMES, elapsed=clocks.elapsed)
    first, second = process(table, clocks), process(table, clocks)
    old = first.current(clocks.now)
    clocks.go(HOUR // 3)
    parent.add(clocks.now)
    # None is due, so nobody looks before the time to look has come.
    assert second.next_tick_ms(clocks.now) == LONGEST_LOOK_MS
    clocks.go(LONGEST_LOOK_MS)
    for ring in (first, second):
        ring.tick(clocks.now)
        new = ring.current(clocks.now)
        assert new.statement.epoch == clocks.now - LONGEST_LOOK_MS
        assert ring.by_id(key_id(old), clocks.now) is not None
    # Its own period has begun.
    clocks.go(HOUR - 2 * LONGEST_LOOK_MS)
    assert first.next_tick_ms(clocks.now) == LONGEST_LOOK_MS
    # One more, and the first is gone: as many live as are meant to.
    parent.add(clocks.now)
    for ring in (first, second):
        ring.tick(clocks.now)
        assert ring.by_id(key_id(old), clocks.now) is None
        assert ring.state(clocks.now).live == 2
    assert len(Table.decode(table.read_bytes()).epochs) == 2


def test_an_epoch_may_be_asked_for_before_any_process_has_started(table: Path) -> None:
    clocks = Clocks()
    SharedEpochs(table, TIMES, elapsed=clocks.elapsed).add(clocks.now)
    first, second = process(table, clocks), process(table, clocks)
    assert first.current(clocks.now).statement.epoch == clocks.now
    assert key_id(first.current(clocks.now)) == key_id(second.current(clocks.now))


def test_an_epoch_that_is_asked_for_needs_the_file(tmp_path: Path) -> None:
    with pytest.raises(KeysUnavailableError, match="gone or damaged"):
        SharedEpochs(tmp_path / "nowhere", TIMES).add(0)


def test_a_key_that_another_process_has_made_is_found_by_its_id(table: Path) -> None:
    clocks, slower = Clocks(), Clocks()
    first, second = process(table, clocks), process(table, slower)
    old = second.current(slower.now)
    first.tick(clocks.go(HOUR))
    new = first.current(clocks.now)
    slower.go(HOUR - 1)
    assert second.current(slower.now) is old
    found = second.by_id(key_id(new), slower.now)
    assert found is not None
    assert found.public_key == new.public_key
    assert second.current(slower.now) is found
    assert second.by_id(key_id(old), slower.now) is old


def test_unknown_ids_do_not_read_the_file_again_and_again(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks()
    ring = process(table, clocks)
    opened = []
    real = shared_epochs.locked_table
    monkeypatch.setattr(
        shared_epochs, "locked_table", lambda path: opened.append(path) or real(path)
    )
    for _ in range(1000):
        assert ring.by_id(b"unknown!", clocks.now) is None
    assert opened == []
    for _ in range(1000):
        clocks.go(1)
        assert ring.by_id(b"unknown!", clocks.now) is None
    assert len(opened) == 20


def test_a_retired_secret_is_gone_from_the_file(table: Path) -> None:
    clocks = Clocks()
    ring = process(table, clocks)
    secrets = [Table.decode(table.read_bytes()).epochs[0].secret]
    for _ in range(4):
        ring.tick(clocks.go(HOUR))
        epochs = Table.decode(table.read_bytes()).epochs
        assert len(epochs) == 2
        assert epochs[0].secret == secrets[-1]
        secrets.append(epochs[1].secret)
        for retired in secrets[:-2]:
            assert retired not in table.read_bytes()
    # Fewer live after a pause: the file does not shrink, so what was there is zeros.
    size = table.stat().st_size
    ring.tick(clocks.go(9 * HOUR))
    assert len(Table.decode(table.read_bytes()).epochs) == 1
    assert table.stat().st_size == size
    assert not any(secret in table.read_bytes() for secret in secrets)


def test_a_clock_that_goes_back_keeps_no_key_longer_and_stops_no_rotation(
    table: Path,
) -> None:
    clocks = Clocks()
    first, second = process(table, clocks), process(table, clocks)
    old = first.current(clocks.now)
    clocks.set_wall_by(-7 * HOUR)
    for count in range(1, 4):
        clocks.go(HOUR)
        first.tick(clocks.now)
        second.tick(clocks.now)
        assert len(Table.decode(table.read_bytes()).epochs) == 2
        assert first.current(clocks.now).statement.epoch == old.statement.epoch + count
    assert first.by_id(key_id(old), clocks.now) is None
    assert key_id(first.current(clocks.now)) == key_id(second.current(clocks.now))


def test_a_clock_that_jumps_forward_ends_what_has_retired(table: Path) -> None:
    clocks = Clocks()
    first, second = process(table, clocks), process(table, clocks)
    clocks.set_wall_by(100 * HOUR)
    mine, yours = first.current(clocks.now), second.current(clocks.now)
    assert mine.statement.epoch == yours.statement.epoch == clocks.now
    assert len(Table.decode(table.read_bytes()).epochs) == 1


def damage(table: Path, content: bytes) -> None:
    descriptor = os.open(table, os.O_RDWR)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, content)
    os.close(descriptor)


@pytest.mark.parametrize("what", ["empty", "cut", "changed", "other", "tail"])
def test_a_damaged_file_ends_in_503_and_never_in_keys_of_one_s_own(
    table: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    clocks = Clocks()
    ring = process(table, clocks)
    key = ring.current(clocks.now)
    good = table.read_bytes()
    bad = {
        "empty": b"",
        "cut": good[:-1],
        "changed": good[:40] + bytes([good[40] ^ 1]) + good[41:],
        "other": b"x" * 1000,
        "tail": good + b"x",
    }[what]
    damage(table, bad)
    for _ in range(3):
        with pytest.raises(KeysUnavailableError, match="gone or damaged"):
            ring.tick(clocks.go(HOUR - 1000))
    assert ring.by_id(key_id(key), clocks.now) is None
    for _ in range(3):
        with pytest.raises(KeysUnavailableError):
            ring.current(clocks.now)
    assert len(caplog.records) == 1
    assert table.read_bytes() == bad
    with pytest.raises(KeysUnavailableError):
        process(table, clocks)

    damage(table, good)
    assert ring.current(clocks.go(50)).statement.epoch == clocks.now


def test_the_current_key_serves_on_without_the_file_until_it_retires(
    tmp_path: Path,
) -> None:
    clocks = Clocks()
    path = tmp_path / "epochs"
    path.write_bytes(Table().encode())
    ring = process(path, clocks)
    key = ring.current(clocks.now)
    path.unlink()
    clocks.go(2 * HOUR - 1)
    with pytest.raises(KeysUnavailableError):
        ring.tick(clocks.now)
    assert ring.current(clocks.now) is key
    with pytest.raises(KeysUnavailableError):
        ring.current(clocks.go(1))
    assert not path.exists()


PROCESS = """
import sys
from pathlib import Path
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.shared_epochs import SharedEpochs
source = SharedEpochs(Path(sys.argv[1]), EpochTimes(3_600_000))
ring = KeyRing(IdentityKey.from_pem(sys.stdin.buffer.read1()), source)
print("ready", flush=True)
for line in sys.stdin:
    now = int(line)
    ring.tick(now)
    print(ring.current(now).statement.key_id.hex(), flush=True)
"""


def test_processes_that_tick_at_once_agree(table: Path) -> None:
    """Real processes, real locks; the time they are told is ours."""
    pem = ring_of_source(
        SharedEpochs(table, TIMES, elapsed=Clocks().elapsed), Clocks()
    ).identity.to_pem()
    damage(table, Table().encode())
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(table)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        for _ in range(4)
    ]
    try:
        for child in children:
            assert child.stdin is not None
            child.stdin.write(pem)
            child.stdin.flush()
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
        seen = set()
        now = 1_800_000_000_000
        for _ in range(20):
            for child in children:
                assert child.stdin is not None
                child.stdin.write(b"%d\n" % now)
                child.stdin.flush()
            ids = set()
            for child in children:
                assert child.stdout is not None
                ids.add(child.stdout.readline())
            assert len(ids) == 1
            seen |= ids
            now += HOUR
        assert len(seen) == 20
        assert len(Table.decode(table.read_bytes()).epochs) == 2
    finally:
        for child in children:
            child.kill()
            child.communicate()
