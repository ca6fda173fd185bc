"""Remembers which identity answers at which base URL: trust on first use.

The file has a line ``BASE_URL FINGERPRINT NEWEST_EPOCH`` for each identity that may
answer there; the epoch is in Unix milliseconds. ``#`` begins a comment. Users edit it.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from stainedglass_output_protection.client.known_servers_file import (
    KnownServersFile,
    Name,
    normalise_base_url,
)
from stainedglass_output_protection.client.private_files import locked
from stainedglass_output_protection.errors import (
    ConfigurationError,
    IdentityChangedError,
    StatementRolledBackError,
)
from stainedglass_output_protection.protocol.identity import fingerprint_of
from stainedglass_output_protection.protocol.statement import Statement

_warned: set[Path | None] = set()
_warned_lock = threading.Lock()


class KnownServers:
    """The memory of one client, and the file that it shares with others.

    With ``path`` None there is memory only, with a warning. ``pinned`` says that the
    caller has compared each identity with a pin: any is then remembered, for its
    epochs. ``clock`` returns Unix seconds. Safe to share by threads.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        pinned: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._pinned = pinned
        self._clock = clock
        self._lock = threading.Lock()
        # What this client has accepted stays, whatever becomes of the file.
        self._newest: dict[Name, int] = {}

    def check(self, base_url: str, statement: Statement) -> None:
        """Return if the server may be the one that is known at ``base_url``.

        The caller has verified the statement's signature and validity, and its identity
        against the pin if there is one. ``base_url`` is what the user has configured,
        or the URL of a request below its ``/v1``. The file is read for a new server or
        epoch only, and written if it lacks it; that takes a lock, for which this waits
        up to ``private_files.LOCK_TIMEOUT_S``.

        Raises:
            IdentityChangedError: another identity than the remembered one.
            StatementRolledBackError: an epoch that ended before the remembered one.
            ConfigurationError: the file is there and cannot be read, or is malformed.
            UsageError: ``base_url`` is no HTTP URL.
        """
        name = normalise_base_url(base_url), fingerprint_of(statement.identity)
        # As in ``StatementPolicy``: what has not begun by our clock is not remembered.
        has_begun = statement.epoch <= self._clock() * 1000
        epoch = statement.epoch if has_begun else 0
        with self._lock:
            newest = self._newest.get(name, -1)
            if epoch > newest:
                self._learn(name, epoch, statement.not_after)
            elif statement.not_after <= newest:
                raise _rolled_back("that this client has met")

    def _learn(self, name: Name, epoch: int, not_after: int) -> None:
        if self._path is None:
            self._refuse_change(KnownServersFile(), name)
            problem = "there is no home folder"
        else:
            try:
                newest = self._learn_with_file(self._path, name, epoch, not_after)
                self._newest[name] = newest
                return
            except OSError as error:
                problem = error.strerror or type(error).__name__
        self._newest[name] = epoch
        self._warn(problem, name)

    def _learn_with_file(
        self, path: Path, name: Name, epoch: int, not_after: int
    ) -> int:
        """Return the newest epoch, which the file has too. Else raise OSError."""
        known = self._judge(path, name, not_after)
        if known.newest(name) < epoch:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(path):
                # Another process may have been first.
                known = self._judge(path, name, not_after)
                if known.newest(name) < epoch:
                    known.put(name, epoch)
                    known.write(path)
        return known.newest(name)

    def _judge(self, path: Path, name: Name, not_after: int) -> KnownServersFile:
        try:
            known = KnownServersFile.read(path)
        except OSError as error:
            if self._pinned:
                raise
            raise ConfigurationError(
                f"The file of known servers, {path}, cannot be read "
                f"({error.strerror}), so nobody can tell whether the server is still "
                "the same. Mend that, or pin the server's identity."
            ) from None
        self._refuse_change(known, name)
        if not_after <= known.newest(name):
            raise _rolled_back(f"in line {known.entries[name].line} of {path}")
        return known

    def _refuse_change(self, known: KnownServersFile, name: Name) -> None:
        """Refuse an identity that is new where another is known.

        Where the file knows one it decides: users edit it while a client lives.
        """
        base_url, fingerprint = name
        lines = known.lines_of(base_url)
        if lines:
            old = [
                f"{key} (line {line} of {self._path})" for key, line in lines.items()
            ]
            known_here = fingerprint in lines
            remedy = "put the new fingerprint in place of the old one in that line"
        else:
            old = [key for url, key in self._newest if url == base_url]
            known_here = fingerprint in old
            remedy = "make a new client, which has not met the old one"
        if known_here or not old or self._pinned:
            return
        raise IdentityChangedError(
            f"THE IDENTITY OF THE SERVER AT {base_url} HAS CHANGED. SOMEBODY MAY BE IN "
            f"BETWEEN. Known: {', '.join(old)}. Now: {fingerprint}. Ask the operator, "
            "not through this connection. Only if the operator has replaced the "
            f"identity by the new one, {remedy}."
        )

    def _warn(self, problem: str, name: Name) -> None:
        with _warned_lock:
            if self._path in _warned:
                return
            _warned.add(self._path)
        base_url, fingerprint = name
        subject = (
            "The file of known servers could not be written"
            if self._path is None
            else f"The file of known servers ({self._path}) could not be written"
        )
        if self._pinned:
            loss = "An older epoch is noticed by this client only, not by the next one."
        else:
            loss = (
                f"The server at {base_url} is known to this client only, and the next "
                "one would trust any other in its place. Once the operator has "
                "confirmed that this is its fingerprint, pin it: "
                f"SG_SERVER_IDENTITY={fingerprint}"
            )
        warnings.warn(f"{subject}: {problem}. {loss}", stacklevel=2)


def _rolled_back(where: str) -> StatementRolledBackError:
    return StatementRolledBackError(
        f"The server's epoch had ended before the one {where}: an old answer or an "
        "old server. Or a clock was wrong when that one was met."
    )
