"""Puts an ASGI application on a loopback port for as long as a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

# The default of some servers makes Linux reset connections that come in a burst.
_BACKLOG = 128


@contextlib.contextmanager
def on_a_port(app: Any) -> Iterator[int]:
    """Serve ``app`` from a thread of its own; yield the port."""
    # Named TCP, or asyncio leaves small writes waiting for acknowledgements: 40 ms each.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(_BACKLOG)
    config = uvicorn.Config(
        app,
        log_level="critical",
        date_header=False,
        server_header=False,
        timeout_keep_alive=600,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=asyncio.run, args=[server.serve(sockets=[listener])]
    )
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
