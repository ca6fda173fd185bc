"""Runs the proxy's application on a socket, until a signal ends it."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import signal
import socket
from typing import Any, Final

import uvicorn

from stainedglass_output_protection.apps.listening import url_of
from stainedglass_output_protection.apps.serving import config_of

# Two for each stream, of which there may be many.
_OPEN_FILES: Final = 65536
# Of the process itself, and of programs whose requests are refused.
_OTHER_FILES: Final = 64
_OBJECTS_BETWEEN_COLLECTIONS: Final = 20_000


def url_for_programs(listener: socket.socket) -> str:
    """Return the base URL that programs are given, to fill in where it is not known."""
    name, port = listener.getsockname()[:2]
    if ipaddress.ip_address(name.partition("%")[0]).is_unspecified:
        return f"http://<this machine's name>:{port}"
    return url_of(listener)


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
