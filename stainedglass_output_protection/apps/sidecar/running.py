"""Runs the sidecar's application on a port or a socket, until a signal ends it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn

from stainedglass_output_protection.apps.proxy.reading import MAX_HEAD, fastest_reader
from stainedglass_output_protection.errors import ConfigurationError

# Gateways keep idle connections for less, so that it is they who close them.
_KEEP_ALIVE_S: Final = 120
_BACKLOG: Final = 2048


@contextlib.contextmanager
def listening(host: str, port: int, path: Path | None) -> Iterator[socket.socket]:
    """Take connections at ``path``, or without one at ``host`` and ``port``.

    Raises:
        ConfigurationError: it is taken, or not ours to take.
    """
    if path is None:
        with _at_port(host, port) as listener:
            yield listener
        return
    with _at_path(path) as listener:
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def shown(listener: socket.socket) -> str:
    """Return where clients find what listens there."""
    if listener.family == getattr(socket, "AF_UNIX", None):
        return f"unix:{listener.getsockname()}"
    name, port = listener.getsockname()[:2]
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def config_of(app: Any, *, grace_s: int) -> uvicorn.Config:
    """Return how uvicorn serves the sidecar."""
    return uvicorn.Config(
        app,
        http=fastest_reader(),
        h11_max_incomplete_event_size=MAX_HEAD,
        ws="none",
        lifespan="on",
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=grace_s,
        access_log=False,
        # It would log tracebacks, and with them the words of exceptions.
        log_level="critical",
        proxy_headers=False,
        # The engine's own are passed on.
        server_header=False,
        date_header=False,
    )


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


def _at_port(host: str, port: int) -> socket.socket:
    listener = None
    try:
        found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        # asyncio sends small events at once only if the protocol is named.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise ConfigurationError(
                f"Port {port} on {host} is taken: choose another with --port, or end "
                "what listens there."
            ) from None
        reason = getattr(error, "strerror", None) or "no such address"
        raise ConfigurationError(
            f"The sidecar cannot listen on {host}, port {port} ({reason}): check "
            "--host and --port."
        ) from None
    return listener


def _at_path(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_left(path)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
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
