"""How uvicorn serves what stands between programs and a server: proxy and sidecar."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import uvicorn

from stainedglass_output_protection.apps.listening import BACKLOG
from stainedglass_output_protection.apps.proxy.reading import MAX_HEAD, fastest_reader

# Programs and gateways keep idle connections for less, so it is they who close them.
_KEEP_ALIVE_S: Final = 120


def config_of(
    app: Any, *, grace_s: int, http: type[asyncio.Protocol] | None = None
) -> uvicorn.Config:
    """Return how ``app`` is served; ``http`` is what reads requests.

    Answers that run when it ends get ``grace_s`` seconds.
    """
    return uvicorn.Config(
        app,
        http=http or fastest_reader(),
        h11_max_incomplete_event_size=MAX_HEAD,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=grace_s,
        access_log=False,
        # It would log tracebacks of answers that are cut on purpose, and with them the
        # words of exceptions.
        log_level="critical",
        proxy_headers=False,
        # Those of the server or engine behind it are passed on.
        server_header=False,
        date_header=False,
    )
