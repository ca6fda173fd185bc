"""Asks a proxy byte by byte, as no well-made program would."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

from tests.apps.proxy.running import Running

TIMEOUT_S = 60


def asked_raw(
    proxy: Running,
    target: str = "/v1/chat/completions",
    *lines: str,
    method: str = "POST",
    body: bytes = b"",
    host: str | None = "127.0.0.1",
    version: str = "1.1",
) -> bytes:
    """Send one request with these header lines, and return all that comes back."""
    named = [] if host is None else [f"Host: {host}"]
    head = [f"{method} {target} HTTP/{version}", *named, *lines, "Connection: close"]
    return sent_raw(proxy, "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)


def sent_raw(proxy: Running, data: bytes) -> bytes:
    """Send bytes, and return all that comes back until the connection is closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S) as connection:
        # Whoever refuses early may close before everything has been sent.
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    return received


def status_of(received: bytes) -> int:
    """Return the status of the first answer."""
    return int(received.split(b" ", 2)[1])


def code_of(received: bytes) -> Any:
    """Return the code of an error of the proxy's."""
    return json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"]
