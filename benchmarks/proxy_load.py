"""The programs that ask: one at a time for the first event, and many at once.

It parses as little as it can, so that what is measured is not the measuring.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from dataclasses import dataclass, field

from benchmarks.proxy_processes import PATH, PERIOD_S

_EVENT = re.compile(rb'"content":"(\d+)@([0-9.]+);"')


def request_of(events: int) -> bytes:
    """Return the request for a stream, as bytes."""
    body = json.dumps({"model": "m", "messages": [], "stream": True, "events": events})
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode("ascii")


class Connection:
    """One connection that asks again and again."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request_of(1)

    def first_event_ms(self) -> float:
        """Return the time from the request to its first event."""
        received = b""
        started = time.perf_counter()
        self._socket.sendall(self._request)
        while b"data: " not in received:
            received += self._receive()
        took = time.perf_counter() - started
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += self._receive()
        if b"HTTP/1.1 200" not in received or not _EVENT.search(received):
            raise SystemExit(f"not the answer that was asked for: {received[:500]!r}")
        return took * 1e3

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise SystemExit("a connection was closed in the middle")
        return data


@dataclass
class Stream(asyncio.Protocol):
    """One of many streams. ``delays_s`` are from the sending of each event to here."""

    request: bytes
    events: int
    ended: asyncio.Future[None]
    delays_s: list[float] = field(default_factory=list)
    is_whole: bool = False
    _rest: bytes = b""
    _next: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Note when each event came, and that it is the next one."""
        now = time.monotonic()
        self._rest += data
        end = 0
        for match in _EVENT.finditer(self._rest):
            end = match.end()
            if int(match[1]) == self._next:
                self._next += 1
                self.delays_s.append(now - float(match[2]))
        self._rest = self._rest[end:]
        if self._rest.endswith(b"0\r\n\r\n"):
            is_done = b"data: [DONE]" in self._rest
            self.is_whole = is_done and self._next == self.events
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, whole or not."""
        if not self.ended.done():
            self.ended.set_result(None)


async def many_streams(port: int, *, count: int, events: int) -> list[Stream]:
    """Ask for ``count`` streams, which begin evenly within a third of their time."""
    loop = asyncio.get_running_loop()
    request = request_of(events)
    spread_s = events * PERIOD_S / 3
    began = loop.time()
    streams = []
    for number in range(count):
        await asyncio.sleep(max(0, began + spread_s * number / count - loop.time()))
        stream = Stream(request, events, loop.create_future())
        streams.append(stream)
        await loop.create_connection(lambda: streams[-1], "127.0.0.1", port)
    await asyncio.gather(*(stream.ended for stream in streams))
    return streams
