"""Puts an application on a port, and asks it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx2
import uvicorn

from tests.apps.proxy.running import served as running
from tests.apps.proxy.running import wait_for_the_ending

# However slow the machine.
TIMEOUT_S = 120.0


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve under uvicorn, and yield the base URL."""
    config = uvicorn.Config(
        app,
        log_level="critical",
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        # Shorter, and a machine that stands still closes what is about to be used.
        timeout_keep_alive=600,
    )
    try:
        with running(config) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        wait_for_the_ending()


def fetched(url: str, method: str = "GET", **options: Any) -> httpx2.Response:
    """Ask as somebody who knows nothing of the protection."""
    return httpx2.request(method, url, timeout=TIMEOUT_S, trust_env=False, **options)
