"""The protected server behind a gateway: the real middleware on a loopback port."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.middleware import ProtectionMiddleware
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.replay_store import ReplayStore
from tests.client.sealed_server import Application, ring_since
from tests.gateways.serving import on_a_port


class Upstream:
    """A server of both profiles. Its application keeps what it is asked in ``calls``."""

    def __init__(self, ring: KeyRing | None = None, **options: Any) -> None:
        self.app = Application()
        self.ring = ring or ring_since()
        self.port = 0
        store = ReplayStore(None)
        make_store: Callable[[], ReplayStore] = lambda: store  # noqa: E731
        self._protected = ProtectionMiddleware(
            self.app,
            Options(**options),
            ring_of=lambda scope: self.ring,
            replay_store=make_store,
        )

    @property
    def fingerprint(self) -> str:
        return self.ring.identity.fingerprint

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve as an ASGI application."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        scope["app"] = SimpleNamespace(routes=self.app.routes)
        await self._protected(scope, receive, send)


@contextlib.contextmanager
def running(upstream: Upstream) -> Iterator[Upstream]:
    """Put ``upstream`` on a port for as long as the block lasts."""
    with on_a_port(upstream) as upstream.port:
        yield upstream
