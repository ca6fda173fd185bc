"""Runs the sidecar's application on a port or a socket, until a signal ends it."""

from __future__ import annotations

import contextlib
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from stainedglass_output_protection.apps.listening import BACKLOG, Address, url_of
from stainedglass_output_protection.apps.serving import config_of
from stainedglass_output_protection.errors import ConfigurationError


@contextlib.contextmanager
def listening(host: str, port: int, path: Path | None) -> Iterator[socket.socket]:
    """Take connections at ``path``, or without one at ``host`` and ``port``.

    Raises:
        ConfigurationError: it is taken, or not ours to take.
    """
    if path is None:
        with Address(host, port, who="The sidecar").listen() as listener:
            yield listener
        return
    with _at_path(path) as listener:
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def shown(listener: socket.socket) -> str:
    """Return where clients find what listens there."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    return url_of(listener)


def run(app: Any, listener: socket.socket, *, grace_s: int) -> bool:
    """Serve until SIGINT or SIGTERM, then give running answers ``grace_s`` seconds.

    Returns whether it has served at all: its start may have failed.
    """
    server = uvicorn.Server(config_of(app, grace_s=grace_s))

    def stop(number: int, frame: object) -> None:
        # For a signal before uvicorn looks for it, and for the one that it raises
        # again when it has ended, which then is the end wanted.
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    # Newer releases of uvicorn end the process if the start fails.
    with contextlib.suppress(SystemExit):
        server.run(sockets=[listener])
    return server.started


def _at_path(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_left(path)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise ConfigurationError(
            f"The sidecar cannot listen at {path} ({reason}): choose another path with "
            "--uds, or end what listens there."
        ) from None
    return listener


def _remove_left(path: Path) -> None:
    """Remove a socket that a process which is gone has left behind."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            # One that is there may be too busy to take a connection.
            other.settimeout(1)
            try:
                other.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except (BlockingIOError, TimeoutError):
                return
