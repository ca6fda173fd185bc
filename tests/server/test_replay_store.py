"""One sealed request buys one observation, whatever the order, process or failure."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stainedglass_output_protection.errors import (
    ConfigurationError,
    KeysUnavailableError,
    RequestError,
)
from stainedglass_output_protection.server.replay_store import ReplayStore

NOW = 1_800_000_000_000
SOON = NOW + 7_200_000
PARALLEL = 8


def secret(number: int) -> bytes:
    """Return a response secret of its own."""
    return hashlib.sha256(b"%d" % number).digest()


def enter(
    store: ReplayStore,
    number: int,
    time_ms: int = NOW,
    *,
    retires_at: int = SOON,
    now_ms: int = NOW,
) -> str:
    """Return what becomes of a request: "entered" or the code of its refusal."""
    try:
        store.enter(
            secret(number), time_ms=time_ms, retires_at=retires_at, now_ms=now_ms
        )
    except RequestError as error:
        return error.code if error.status == 425 else f"status {error.status}"
    return "entered"


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "memory" else tmp_path / "used.db"


@pytest.fixture
def store(path: Path | None) -> Iterator[ReplayStore]:
    store = ReplayStore(path)
    yield store
    store.close()


@pytest.fixture
def small(path: Path | None) -> Iterator[ReplayStore]:
    """A store that three requests fill."""
    store = ReplayStore(path, capacity=3)
    yield store
    store.close()


# Each line names a file and requests to enter in a store on it.
_PROCESS = f"""
import sys
from pathlib import Path
from tests.server.test_replay_store import ReplayStore, enter
print("ready", flush=True)
for line in sys.stdin:
    path, *numbers = line.split()
    store = ReplayStore(Path(path), capacity={PARALLEL})
    print(*[enter(store, int(number)) for number in numbers], flush=True)
    store.close()
"""


@contextmanager
def processes(count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that wait for lines."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        assert [read(process) for process in started] == [["ready"]] * count
        yield started
    finally:
        for process in started:
            process.communicate(timeout=60)


def read(process: subprocess.Popen[str]) -> list[str]:
    """Return the words of a process's next line."""
    assert process.stdout is not None
    return process.stdout.readline().split()


def ask(path: Path, *asked: tuple[subprocess.Popen[str], list[int]]) -> list[list[str]]:
    """Return what becomes of the requests that each process enters, all at one time."""
    for process, numbers in asked:
        assert process.stdin is not None
        process.stdin.write(" ".join([str(path), *map(str, numbers)]) + "\n")
        process.stdin.flush()
    return [read(process) for process, _ in asked]


class TestReplay:
    def test_a_request_enters_once(self, store: ReplayStore) -> None:
        assert enter(store, 1) == "entered"
        assert enter(store, 1) == "request_replayed"
        assert enter(store, 1, NOW + 1, now_ms=NOW + 1) == "request_replayed"
        assert enter(store, 2) == "entered"

    def test_not_in_another_store_on_the_file_nor_after_opening_it_again(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "used.db"
        first, second = ReplayStore(path), ReplayStore(path)
        assert enter(first, 1) == "entered"
        assert enter(second, 1) == "request_replayed"
        first.close()
        second.close()
        third = ReplayStore(path)
        assert enter(third, 1) == "request_replayed"
        third.close()

    def test_not_in_another_process(self, tmp_path: Path) -> None:
        path = tmp_path / "used.db"
        store = ReplayStore(path)
        assert enter(store, 1) == "entered"
        with processes(1) as (other,):
            assert ask(path, (other, [1, 2])) == [["request_replayed", "entered"]]
        assert enter(store, 2) == "request_replayed"
        store.close()

    def test_not_after_a_process_that_was_killed(self, tmp_path: Path) -> None:
        path = tmp_path / "used.db"
        code = (
            "import os, sys; from pathlib import Path\n"
            "from tests.server.test_replay_store import ReplayStore, enter\n"
            "print(enter(ReplayStore(Path(sys.argv[1])), 1), flush=True)\n"
            "os.kill(os.getpid(), 9)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True
        )
        assert (done.returncode, done.stdout) == (-9, "entered\n")
        store = ReplayStore(path)
        assert enter(store, 1) == "request_replayed"
        store.close()

    def test_one_of_many_processes_that_also_make_the_file(
        self, tmp_path: Path
    ) -> None:
        with processes(PARALLEL) as racing:
            for number in range(50):
                path = tmp_path / f"{number}.db"
                answers = ask(path, *((process, [1]) for process in racing))
                assert sorted(answers) == [
                    ["entered"],
                    *[["request_replayed"]] * (PARALLEL - 1),
                ]

    @pytest.mark.parametrize("is_shared", [True, False])
    def test_one_of_many_threads(self, tmp_path: Path, is_shared: bool) -> None:
        """With one store for all, or with many that make a new file each time."""
        rounds = 50
        shared = ReplayStore(tmp_path / "used.db")
        together, answers = threading.Barrier(PARALLEL), list[str]()

        def race() -> None:
            for number in range(rounds):
                together.wait(timeout=60)
                store = shared if is_shared else ReplayStore(tmp_path / str(number))
                answers.append(enter(store, number))
                if not is_shared:
                    store.close()

        threads = [threading.Thread(target=race) for _ in range(PARALLEL)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shared.close()
        assert answers.count("entered") == rounds
        assert answers.count("request_replayed") == rounds * (PARALLEL - 1)

    def test_not_where_others_open_and_close_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "used.db"
        store = ReplayStore(path)
        assert enter(store, 1) == "entered"
        # Neither must make the file look unused: its last user takes the log away.
        ReplayStore(path).close()
        with processes(1) as (other,):
            for number in (1, 2, 3):
                enter(store, number)
                assert ask(path, (other, [number])) == [["request_replayed"]]
        store.close()


class TestTime:
    def test_at_most_sixty_seconds_ahead(self, store: ReplayStore) -> None:
        assert enter(store, 1, NOW + 60_000) == "entered"
        assert enter(store, 2, NOW + 60_001) == "request_mistimed"
        assert enter(store, 2, NOW + 60_001, now_ms=NOW + 1) == "entered"

    def test_no_age_is_too_old_by_itself(self, store: ReplayStore) -> None:
        assert enter(store, 1, NOW - 7_000_000) == "entered"

    def test_not_once_its_key_has_retired(self, store: ReplayStore) -> None:
        assert enter(store, 1, retires_at=NOW) == "request_mistimed"
        for number in (1, 2):
            assert enter(store, number, retires_at=NOW + 1) == "entered"
        assert enter(store, 1, retires_at=NOW + 1) == "request_replayed"

    def test_the_start_barrier(self, path: Path | None) -> None:
        store = ReplayStore(path, mark_ms=NOW)
        assert enter(store, 1, NOW) == "request_mistimed"
        assert enter(store, 1, NOW + 1) == "entered"
        store.close()

    def test_the_mark_is_the_highest_of_all_processes(self, tmp_path: Path) -> None:
        path = tmp_path / "used.db"
        stores = [ReplayStore(path, mark_ms=mark) for mark in (NOW, NOW + 5, NOW + 2)]
        for store in stores:
            assert enter(store, 1, NOW + 5) == "request_mistimed"
            store.close()

    def test_a_barrier_stays_when_older_entries_go(self, tmp_path: Path) -> None:
        path = tmp_path / "used.db"
        older = ReplayStore(path, capacity=1)
        assert enter(older, 1) == "entered"
        newer = ReplayStore(path, capacity=1, mark_ms=NOW + 5)
        assert enter(older, 2, NOW + 6) == "entered"
        assert enter(older, 3, NOW + 4) == "request_mistimed"
        assert enter(newer, 3, NOW + 4) == "request_mistimed"
        older.close()
        newer.close()

    def test_a_clock_that_jumps_back(self, store: ReplayStore) -> None:
        assert enter(store, 1) == "entered"
        earlier = NOW - 3_600_000
        for number in (1, 2):
            assert enter(store, number, now_ms=earlier) == "request_mistimed"
        assert enter(store, 1, now_ms=NOW - 1) == "request_replayed"
        assert enter(store, 2, earlier, now_ms=earlier) == "entered"
        assert enter(store, 1) == "request_replayed"

    def test_a_clock_that_jumps_ahead_and_back(self, store: ReplayStore) -> None:
        assert enter(store, 1) == "entered"
        later = SOON + 1
        assert enter(store, 2, later, retires_at=later + 9, now_ms=later) == "entered"
        # Its entry is gone, and the mark was not raised.
        assert enter(store, 1) == "request_mistimed"
        assert enter(store, 3, retires_at=SOON + 1) == "entered"


class TestCapacity:
    def test_the_lowest_time_becomes_the_mark(self, small: ReplayStore) -> None:
        for number in (4, 2, 3, 5):
            assert enter(small, number, NOW + number) == "entered"
        assert enter(small, 2, NOW + 2) == "request_mistimed"
        assert enter(small, 1, NOW + 1) == "request_mistimed"
        for number in (3, 4, 5):
            assert enter(small, number, NOW + number) == "request_replayed"

    def test_equal_times_are_refused_once_one_was_forgotten(
        self, small: ReplayStore
    ) -> None:
        for number in (1, 2, 3):
            assert enter(small, number) == "entered"
        assert enter(small, 4, NOW + 1) == "entered"
        assert [enter(small, number) for number in (1, 2, 3, 5)] == [
            "request_mistimed"
        ] * 4
        # Those three made room: nothing else is forgotten for the next two.
        assert enter(small, 6, NOW + 3) == "entered"
        assert enter(small, 7, NOW + 3) == "entered"
        assert enter(small, 4, NOW + 1) == "request_replayed"

    def test_more_equal_times_than_one_step_drops(self, path: Path | None) -> None:
        store = ReplayStore(path, capacity=100)
        for number in range(100):
            assert enter(store, number) == "entered"
        for number in range(100, 200):
            assert enter(store, number, NOW + number) == "entered"
        for number in range(200):
            time_ms = NOW if number < 100 else NOW + number
            assert enter(store, number, time_ms) != "entered"
        store.close()

    def test_a_request_of_the_lowest_time_enters_once(self, small: ReplayStore) -> None:
        for number in (5, 6, 7):
            assert enter(small, number, NOW + number) == "entered"
        assert enter(small, 2, NOW + 2) == "entered"
        assert enter(small, 2, NOW + 2) == "request_mistimed"
        assert enter(small, 3, NOW + 2) == "request_mistimed"
        # It took nobody's place.
        for number in (5, 6, 7):
            assert enter(small, number, NOW + number) == "request_replayed"

    def test_retired_entries_go_first_and_leave_the_mark(
        self, small: ReplayStore
    ) -> None:
        for number in (1, 2):
            assert enter(small, number, NOW + number, retires_at=NOW + 9) == "entered"
        assert enter(small, 3, NOW + 3) == "entered"
        assert enter(small, 4, NOW + 4, now_ms=NOW + 9) == "entered"
        assert enter(small, 0, NOW - 9, now_ms=NOW + 9) == "entered"
        assert enter(small, 3, NOW + 3, now_ms=NOW + 9) == "request_replayed"
        for number in (1, 2):
            answer = enter(small, number, NOW + number, retires_at=NOW + 9)
            assert answer == "request_mistimed"

    def test_one_call_drops_few_of_many_retired(self, tmp_path: Path) -> None:
        path = tmp_path / "used.db"
        store = ReplayStore(path, capacity=1_000)
        for number in range(1_000):
            assert enter(store, number, NOW + number) == "entered"
        reader = sqlite3.connect(path)
        held = [1_000]
        for number in range(1_000, 2_000):
            answer = enter(store, number, NOW, retires_at=SOON + 9, now_ms=SOON)
            # The mark would be above this time, had it been raised.
            assert answer == "entered"
            held += reader.execute("SELECT count(*) FROM used").fetchone()
        assert max(before - after for before, after in pairwise(held)) == 7
        assert held[-1] == 1_000
        for number in range(1_000):
            assert enter(store, number, NOW + number) == "request_mistimed"
        reader.close()
        store.close()

    def test_it_holds_over_all_processes(self, tmp_path: Path) -> None:
        path = tmp_path / "used.db"
        # All have one time: the ninth to enter finds the store full and raises the mark.
        with processes(2) as (one, two):
            asked = (one, list(range(10))), (two, list(range(10, 20)))
            answers = [answer for each in ask(path, *asked) for answer in each]
        assert answers.count("entered") == PARALLEL + 1

    def test_none_is_refused(self) -> None:
        with pytest.raises(ConfigurationError):
            ReplayStore(None, capacity=0)


class TestRelease:
    def test_a_released_request_enters_again_once(self, store: ReplayStore) -> None:
        assert enter(store, 1) == "entered"
        store.release(secret(1))
        assert enter(store, 1) == "entered"
        assert enter(store, 1) == "request_replayed"

    def test_of_an_unknown_one_does_nothing(self, small: ReplayStore) -> None:
        for number in (1, 2):
            assert enter(small, number, NOW + number) == "entered"
        small.release(secret(9))
        assert enter(small, 3, NOW + 3) == "entered"
        assert enter(small, 4, NOW + 4) == "entered"
        assert enter(small, 1, NOW + 1) == "request_mistimed"

    def test_makes_room(self, small: ReplayStore) -> None:
        for number in (1, 2, 3):
            assert enter(small, number, NOW + number) == "entered"
        small.release(secret(2))
        assert enter(small, 4, NOW + 4) == "entered"
        assert enter(small, 1, NOW + 1) == "request_replayed"

    def test_does_not_lower_the_mark(self, small: ReplayStore) -> None:
        for number in (1, 2, 3, 4):
            assert enter(small, number, NOW + number) == "entered"
        small.release(secret(1))
        assert enter(small, 1, NOW + 1) == "request_mistimed"


_REQUESTS = st.tuples(
    st.integers(0, 6),  # the secret
    st.integers(0, 4),  # its time, with the secret's
    st.integers(0, 8),  # the clock
)


@settings(max_examples=400, deadline=None)
@example(capacity=1, mark=0, steps=[(0, 0, 0), (1, 1, 1), (0, 0, 0)], released=set())
@given(
    capacity=st.integers(1, 5),
    mark=st.integers(0, 3),
    steps=st.lists(_REQUESTS, max_size=60),
    released=st.sets(st.integers(0, 60), max_size=4),
)
def test_nothing_accepted_is_accepted_again(
    capacity: int, mark: int, steps: list[tuple[int, int, int]], released: set[int]
) -> None:
    """Any order of requests and clocks, beside the rules written over a dictionary."""
    store = ReplayStore(None, capacity=capacity, mark_ms=mark)
    used: dict[tuple[int, int], tuple[int, int]] = {}
    open_to_all: set[tuple[int, int]] = set()
    accepted: set[tuple[int, int]] = set()
    gone = 0
    for index, (number, time_ms, now_ms) in enumerate(steps):
        message = (number, time_ms)
        # Three epochs, each with the retirement that goes with its messages.
        retires_at = 3 + 2 * (number % 3)
        is_due = (
            message not in used
            and time_ms > mark
            and retires_at > max(gone, now_ms)
            and time_ms <= now_ms + 60_000
        )
        answer = enter(
            store, number * 10 + time_ms, time_ms, retires_at=retires_at, now_ms=now_ms
        )
        assert (answer == "entered") == is_due
        if not is_due:
            continue
        assert message not in accepted or message in open_to_all
        accepted.add(message)
        open_to_all.discard(message)
        retirement = min((kept[1] for kept in used.values()), default=now_ms + 1)
        if retirement <= now_ms:
            gone = max(gone, retirement)
            used = {key: kept for key, kept in used.items() if kept[1] != retirement}
        used[message] = (time_ms, retires_at)
        if len(used) > capacity:
            mark = min(kept[0] for kept in used.values())
            used = {key: kept for key, kept in used.items() if kept[0] > mark}
        if index in released:
            store.release(secret(number * 10 + time_ms))
            if used.pop(message, None) is not None:
                open_to_all.add(message)
    store.close()


class TestFailures:
    def test_the_file_holds_hashes_and_is_for_its_user_alone(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "used.db"
        store = ReplayStore(path)
        assert enter(store, 1) == "entered"
        files = list(tmp_path.iterdir())
        assert len(files) > 1
        held = b"".join(file.read_bytes() for file in files)
        assert secret(1) not in held
        assert hashlib.sha256(secret(1)).digest() in held
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        store.close()

    def test_no_database(self, tmp_path: Path) -> None:
        path = tmp_path / "used.db"
        path.write_bytes(b"something else entirely, " * 400)
        before = os.listdir("/dev/fd")
        with pytest.raises(KeysUnavailableError, match="not a database") as failure:
            ReplayStore(path)
        # Closed already, though the error and its frames are still there.
        assert failure.tb is not None
        assert os.listdir("/dev/fd") == before

    def test_a_file_damaged_while_it_is_open(self, tmp_path: Path) -> None:
        path = tmp_path / "used.db"
        store = ReplayStore(path)
        assert enter(store, 1) == "entered"
        store.close()
        store = ReplayStore(path)
        damaged = bytearray(path.read_bytes())
        damaged[4096:] = b"\x5a" * (len(damaged) - 4096)
        path.write_bytes(damaged)
        with pytest.raises(KeysUnavailableError, match="DatabaseError"):
            enter(store, 1)
        store.close()

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(KeysUnavailableError, match="FileNotFoundError"):
            ReplayStore(tmp_path / "missing" / "used.db")

    def test_a_lock_that_somebody_keeps(self, tmp_path: Path) -> None:
        path = tmp_path / "used.db"
        store = ReplayStore(path)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(KeysUnavailableError, match="locked"):
            enter(store, 1)
        other.execute("ROLLBACK")
        other.close()
        assert enter(store, 1) == "entered"
        store.close()

    def test_after_closing(self, store: ReplayStore) -> None:
        store.close()
        with pytest.raises(KeysUnavailableError):
            enter(store, 1)
        with pytest.raises(KeysUnavailableError):
            store.release(secret(1))

    def test_a_read_only_file(self) -> None:
        # Not below pytest's folder, which the child below could not enter.
        with tempfile.TemporaryDirectory() as name:
            folder, path = Path(name), Path(name, "used.db")
            ReplayStore(path).close()
            path.chmod(0o444)
            folder.chmod(0o755)
            done = in_a_process(
                "if os.getuid() == 0:\n"
                "    os.setuid(65534)\n"
                "os.umask(0)\n"
                "attempt(lambda: enter(ReplayStore(path), 1))",
                path,
            )
        assert done.startswith("KeysUnavailableError")

    def test_a_full_disk(self, tmp_path: Path) -> None:
        done = in_a_process(
            "store = ReplayStore(path)\n"
            "entered = [enter(store, number) for number in range(9)]\n"
            "size = path.with_name('used.db-wal').stat().st_size\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
            "attempt(lambda: enter(store, 100))\n"
            "attempt(lambda: enter(store, 100))\n"
            "attempt(lambda: enter(store, 1))",
            tmp_path / "used.db",
        )
        *new, known = done.splitlines()
        assert len(new) == 2
        assert all(line.startswith("KeysUnavailableError") for line in new)
        assert known == "request_replayed"

    def test_a_fork(self, path: Path | None, tmp_path: Path) -> None:
        done = in_a_process(
            f"store = ReplayStore({'path' if path else None})\n"
            "attempt(lambda: enter(store, 1))\n"
            "if os.fork() == 0:\n"
            "    attempt(lambda: enter(store, 1))\n"
            "    attempt(lambda: enter(store, 2))\n"
            "    attempt(lambda: store.release(secret(1)))\n"
            "    store.close()\n"
            "    del store\n"
            "    sys.exit()\n"
            "os.wait()\n"
            "attempt(lambda: enter(store, 1))\n"
            "attempt(lambda: enter(store, 2))\n",
            tmp_path / "used.db",
        )
        first, *child, third, fourth = done.splitlines()
        assert (first, third, fourth) == ("entered", "request_replayed", "entered")
        assert len(child) == 3
        assert all("before a fork" in line for line in child)


def in_a_process(code: str, path: Path) -> str:
    """Return what ``code`` printed; ``attempt`` prints a result or an error."""
    beginning = (
        "import os, resource, sys\n"
        "from pathlib import Path\n"
        "from tests.server.test_replay_store import *\n"
        "path = Path(sys.argv[1])\n"
        "def attempt(call):\n"
        "    try:\n"
        "        print(call(), flush=True)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", beginning + code, path],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    return done.stdout
