"""Which sealed requests were used: one sealed message buys one observation.

Specification: ``protocol.md#sealed-requests``. Times are Unix milliseconds.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stainedglass_output_protection.errors import (
    ConfigurationError,
    KeysUnavailableError,
    RequestError,
)
from stainedglass_output_protection.protocol.constants import MAX_AHEAD_MS

_BUSY_TIMEOUT_S = 1.0
# Rows that one call drops at most: more than it adds, and never a long stop.
_STEP = 8

# `retired` is the latest retirement whose rows were dropped; `entries` counts `used`.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY, mark INTEGER NOT NULL,"
    " retired INTEGER NOT NULL, entries INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS used (id INTEGER PRIMARY KEY, digest BLOB NOT NULL"
    " UNIQUE, time INTEGER NOT NULL, retires_at INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS used_by_time ON used (time)",
    "CREATE INDEX IF NOT EXISTS used_by_retirement ON used (retires_at)",
    "INSERT OR IGNORE INTO state VALUES (1, 0, 0, 0)",
)
_RAISE_MARK = "UPDATE state SET mark = max(mark, ?)"
_LOOK = (
    "SELECT mark, retired, entries, (SELECT min(retires_at) FROM used),"
    " EXISTS (SELECT 1 FROM used WHERE digest = ?) FROM state"
)
_LOWEST = "SELECT min(time) FROM used"
_DROP_RETIRED = (
    "DELETE FROM used WHERE id IN (SELECT id FROM used WHERE retires_at = ? LIMIT ?)"
)
_DROP_LOWEST = (
    "DELETE FROM used WHERE id IN (SELECT id FROM used WHERE time <= ? LIMIT ?)"
)
_ADD = "INSERT INTO used (digest, time, retires_at) VALUES (?, ?, ?)"
_KEEP_STATE = "UPDATE state SET mark = ?, retired = ?, entries = ?"
_REMOVE = "DELETE FROM used WHERE digest = ?"
_COUNT_DOWN = "UPDATE state SET entries = entries - ?"


def request_replayed() -> RequestError:
    """Return the error for a sealed request that was used already."""
    return RequestError(
        "This sealed request was used already. Seal each attempt afresh; retries below "
        "the protected client must be off.",
        code="request_replayed",
        status=425,
    )


def request_mistimed() -> RequestError:
    """Return the error for a sealed request that cannot be told from a replay."""
    return RequestError(
        "This sealed request is too old for this server, or its time is more than 60 "
        "seconds ahead of the server's clock. Check both clocks and seal the request "
        "again. A replica that has just started takes no older ones.",
        code="request_mistimed",
        status=425,
    )


class ReplayStore:
    """The hashes of used response secrets, bounded, shared by one server's processes.

    ``path`` is a file in a folder that only this user can enter, on a local disk; it is
    made if it is missing, and must not outlive the server. ``None`` keeps everything in
    memory, for a server of one process. ``mark_ms`` raises the mark, for all processes:
    requests of that time and earlier are refused. What an earlier server accepted with
    a time after ``mark_ms`` (up to ``MAX_AHEAD_MS`` after its end) is not known here.
    All processes must give the same ``capacity``. After a fork, the child must make its
    own store.

    Raises:
        KeysUnavailableError: the file cannot be opened, or is no such file.
    """

    def __init__(
        self, path: Path | None, *, capacity: int = 1_000_000, mark_ms: int = 0
    ) -> None:
        if capacity < 1:
            raise ConfigurationError("The replay store's capacity must be at least 1.")
        self._capacity = capacity
        self._pid = os.getpid()
        self._lock = threading.Lock()
        with _failing_closed():
            self._connection = _connect(path)
        try:
            with _failing_closed():
                _set_up(self._connection)
            with self._transaction() as connection:
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute(_RAISE_MARK, (mark_ms,))
        except BaseException:
            self.close()
            raise

    def enter(
        self, response_secret: bytes, *, time_ms: int, retires_at: int, now_ms: int
    ) -> None:
        """Record a request as used, or refuse it. Call it before anything else.

        ``time_ms`` is the request's own time, ``retires_at`` the end of the epoch whose
        key it was sealed to. In a full store the lowest time is forgotten and becomes
        the mark. If that is the request's own time, the request is accepted, and the
        mark alone refuses it the next time, with every other request of that time.
        A clock that jumps back brings nothing back: entries and marks stay.

        Raises:
            RequestError: it was used, or it cannot be told whether it was.
            KeysUnavailableError: it could not be recorded. It must not be let through.
        """
        if time_ms > now_ms + MAX_AHEAD_MS or retires_at <= now_ms:
            raise request_mistimed()
        digest = hashlib.sha256(response_secret).digest()
        with self._transaction() as connection:
            run = connection.execute
            mark, retired, entries, retirement, is_known = run(
                _LOOK, (digest,)
            ).fetchone()
            if is_known:
                raise request_replayed()
            # `retired`: the clock may have jumped ahead and back since the drop.
            if time_ms <= mark or retires_at <= retired:
                raise request_mistimed()
            if retirement is not None and retirement <= now_ms:
                retired = max(retired, retirement)
                entries -= run(_DROP_RETIRED, (retirement, _STEP)).rowcount
            if entries >= self._capacity:
                (lowest,) = run(_LOWEST).fetchone()
                # Many may share the lowest time: what this step leaves of them lies at
                # the mark, and goes first the next time.
                mark = max(mark, min(lowest, time_ms))
                entries -= run(_DROP_LOWEST, (mark, _STEP)).rowcount
            if time_ms > mark:
                run(_ADD, (digest, time_ms, retires_at))
                entries += 1
            run(_KEEP_STATE, (mark, retired, entries))

    def release(self, response_secret: bytes) -> None:
        """Forget a request that this caller entered and nobody observed.

        That is, one answered with a 5xx before the engine answered. One that only the
        mark refuses stays refused.

        Raises:
            KeysUnavailableError: it could not be released, so it stays used.
        """
        digest = hashlib.sha256(response_secret).digest()
        with self._transaction() as connection:
            removed = connection.execute(_REMOVE, (digest,)).rowcount
            connection.execute(_COUNT_DOWN, (removed,))

    def close(self) -> None:
        """Close the file. Every later call fails; the entries of a file stay in it."""
        # A forked child must leave the parent's connection alone.
        if self._pid == os.getpid():
            with _failing_closed(), self._lock:
                self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._pid != os.getpid():
            raise KeysUnavailableError(
                "The replay store was opened before a fork; each process must open its "
                "own. No sealed request is let through."
            )
        with _failing_closed(), self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # Some errors end the transaction by themselves.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _connect(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        # SQLite would make the file readable to all. One that is there is not opened
        # here: closing it would drop the locks of this process's other stores.
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
    return sqlite3.connect(
        ":memory:" if path is None else path,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            # The busy timeout does not cover processes that make one new file at once.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


@contextmanager
def _failing_closed() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise KeysUnavailableError(
            f"The replay store failed ({type(error).__name__}: {error}); no sealed "
            "request is let through. Check the folder's disk, then restart the server."
        ) from error
