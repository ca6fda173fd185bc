"""Runs the proxy's application on a socket, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import ipaddress
import os
import signal
import socket
from typing import Any, Final

import uvicorn

from stainedglass_output_protection.apps.proxy.reading import MAX_HEAD, fastest_reader
from stainedglass_output_protection.errors import ConfigurationError

# Programs keep idle connections for less, so that it is they who close them.
_KEEP_ALIVE_S: Final = 120
_BACKLOG: Final = 2048
# Two for each stream, of which there may be many.
_OPEN_FILES: Final = 65536
# Of the process itself, and of programs whose requests are refused.
_OTHER_FILES: Final = 64
_OBJECTS_BETWEEN_COLLECTIONS: Final = 20_000


class Address:
    """The one address that ``host`` is; nothing is bound yet.

    Raises:
        ConfigurationError: there is none.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        try:
            found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise self._unusable(error) from None
        self._family, _, _, _, self._address = found[0]
        self.name = str(self._address[0]).partition("%")[0]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.name).is_loopback

    def listen(self) -> socket.socket:
        """Return a socket that takes connections.

        Raises:
            ConfigurationError: the port is taken, or the address is not ours.
        """
        listener = None
        try:
            # asyncio sends small events at once only if the protocol is named.
            listener = socket.socket(
                self._family, socket.SOCK_STREAM, socket.IPPROTO_TCP
            )
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(self._address)
            listener.listen(_BACKLOG)
        except OSError as error:
            if listener is not None:
                listener.close()
            raise self._unusable(error) from None
        return listener

    def _unusable(self, error: Exception) -> ConfigurationError:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            return ConfigurationError(
                f"Port {self._port} on {self._host} is taken: choose another with "
                "--port, or end what listens there."
            )
        reason = getattr(error, "strerror", None) or "no such address"
        return ConfigurationError(
            f"The proxy cannot listen on {self._host}, port {self._port} ({reason}): "
            "check --host and --port."
        )


def url_of(listener: socket.socket) -> str:
    """Return where programs find what listens there."""
    name, port = listener.getsockname()[:2]
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def url_for_programs(listener: socket.socket) -> str:
    """Return the base URL that programs are given, to fill in where it is not known."""
    name, port = listener.getsockname()[:2]
    if ipaddress.ip_address(name.partition("%")[0]).is_unspecified:
        return f"http://<this machine's name>:{port}"
    return url_of(listener)


def config_of(
    app: Any, *, grace_s: int, http: type[asyncio.Protocol] | None = None
) -> uvicorn.Config:
    """Return how uvicorn serves the proxy; ``http`` is what reads requests."""
    return uvicorn.Config(
        app,
        http=http or fastest_reader(),
        h11_max_incomplete_event_size=MAX_HEAD,
        ws="none",
        lifespan="on",
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=grace_s,
        access_log=False,
        # It would log tracebacks of answers that are cut on purpose.
        log_level="critical",
        proxy_headers=False,
        # The server's own are passed on.
        server_header=False,
        date_header=False,
    )


def run(app: Any, listener: socket.socket, *, grace_s: int) -> None:
    """Serve until SIGINT or SIGTERM, then give running answers ``grace_s`` seconds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises it again when it has ended, which then is the end wanted.
        signal.signal(number, lambda number, frame: None)
    # What is there now stays: to look at it again and again would delay events.
    gc.collect()
    gc.freeze()
    # A request makes thousands of objects, and next to none of them in circles.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    uvicorn.Server(config_of(app, grace_s=grace_s)).run(sockets=[listener])


def room_for_requests() -> int:
    """Return how many requests the system's limit of open files has room for.

    The limit of this process is raised as far as it goes.
    """
    try:
        import resource
    except ImportError:
        return _OPEN_FILES // 2
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    files = _OPEN_FILES if soft == resource.RLIM_INFINITY else soft
    return max(1, (files - _OTHER_FILES) // 2)
