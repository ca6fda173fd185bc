"""Closes connections on which no whole request head comes in time.

uvicorn closes idle ones after an answer only. One with half a head would stay, and take
an open file, of which there is an end.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

HEAD_S: Final = 30.0


def with_deadline(base: Any, head_s: float) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol ``base`` with ``head_s`` seconds for each head.

    They begin with the connection, and later with the first byte that comes while no
    request is answered. A body that goes on behind its answer is such bytes, too.
    """

    class DeadlineProtocol(base):  # type: ignore[misc]
        """Both of uvicorn's readers set ``cycle`` anew with each whole head."""

        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._head_timer = self.loop.call_later(head_s, self._give_up)

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:
                self._stop_head_timer()
            elif self._head_timer is None and (
                before is None or before.response_complete
            ):
                self._head_timer = self.loop.call_later(head_s, self._give_up)

        def connection_lost(self, error: Exception | None) -> None:
            self._stop_head_timer()
            super().connection_lost(error)

        def _stop_head_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _give_up(self) -> None:
            self._head_timer = None
            # Not closed: what is left to be written may never be read.
            self.transport.abort()

    return DeadlineProtocol
