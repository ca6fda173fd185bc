"""Asks for many streams at once, whose events are due at the same moments.

It parses as little as it can, so that what is measured is not the measuring.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.sidecar_processes import PATH, Served

PERIOD_S = 0.05
# Until all have asked and been admitted.
_LEAD_S = 0.5
_TICKS_PER_S = 100
_END = b"0\r\n\r\n"


def body_of(events: int, begin_at: float, period_s: float = PERIOD_S) -> bytes:
    """Return the body of a request for a stream."""
    asked = {"model": "m", "messages": [], "stream": True, "events": events}
    return json.dumps({**asked, "begin_at": begin_at, "period_s": period_s}).encode()


@dataclass
class Stream(asyncio.Protocol):
    """One of many streams. ``late_s`` is how long after its time each event came."""

    request: bytes
    events: int
    begin_at: float
    ended: asyncio.Future[None]
    late_s: list[float] = field(default_factory=list)
    is_whole: bool = False
    _last: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Note when each event came."""
        now = time.monotonic()
        for _ in range((self._last[-1:] + data).count(b"\n\n")):
            # The final frame and the end are events too, and belong to no token.
            if len(self.late_s) < self.events:
                due = self.begin_at + len(self.late_s) * PERIOD_S
                self.late_s.append(now - due)
        self._last = (self._last + data)[-200:]
        if self._last.endswith(_END):
            is_done = b"data: [DONE]\n\n" in self._last
            self.is_whole = is_done and len(self.late_s) == self.events
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, whole or not."""
        if not self.ended.done():
            self.ended.set_result(None)


async def many_streams(port: int, key: str, *, count: int, events: int) -> list[float]:
    """Return the lateness of each event of each stream, all of which are whole."""
    loop = asyncio.get_running_loop()
    begin_at = time.monotonic() + _LEAD_S
    body = body_of(events, begin_at)
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-client-public-key: {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    streams = []
    for _ in range(count):
        stream = Stream(head.encode() + body, events, begin_at, loop.create_future())
        streams.append(stream)
        await loop.create_connection(lambda: streams[-1], "127.0.0.1", port)
    await asyncio.gather(*(stream.ended for stream in streams))
    if not all(stream.is_whole for stream in streams):
        raise SystemExit("a stream is not whole: its numbers mean nothing")
    return [late_s for stream in streams for late_s in stream.late_s]


def cpu_s(served: Served) -> list[float]:
    """Return the CPU time that each of the processes has used. Needs Linux."""
    found = []
    for process in served.processes:
        # Behind the name, which may have spaces: proc(5), fields 14 and 15.
        text = Path(f"/proc/{process}/stat").read_text("ascii")
        fields = text.rpartition(")")[2].split()
        found.append((int(fields[11]) + int(fields[12])) / _TICKS_PER_S)
    return found
