"""Engines that are not ours: each dialect of events, and each way to fail.

They answer on raw sockets, so that what they say is what stands here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.asgi.applications import CANARY, CHAT, PIECES, answer, event

Serve = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]

# How engines write their events: the end of a line, and what stands between events.
DIALECTS = {
    "lf": (b"\n", b""),
    "crlf": (b"\r\n", b""),
    "cr": (b"\r", b""),
    "comments": (b"\n", b": ping\n\n"),
    "comments with crlf": (b"\r\n", b": ping - 2026-11-22\r\n\r\n"),
    "named events": (b"\n", b"event: ping\ndata: {}\n\n"),
}
# One chunk of bytes for an event, many of them, or all in one.
CUTS = ("events", "bytes", "one piece")
# Of a loop that ends, until nothing is left in it.
_LAST_TURNS = 10


@dataclass
class Asked:
    """A request as an engine got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    # For what comes after it: the end, when the one who asked has left.
    reader: asyncio.StreamReader

    @property
    def wants_stream(self) -> bool:
        return bool(self.body) and bool(json.loads(self.body).get("stream"))


@dataclass
class Engine:
    """An engine on a loopback port or a socket. ``asked`` is what came."""

    serve: Serve
    path: Path | None = None
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    # Set when the one who asked has left.
    left: threading.Event = field(default_factory=threading.Event)
    answering: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def address(self) -> str:
        """What ``--upstream`` takes."""
        return f"unix:{self.path}" if self.path else f"http://127.0.0.1:{self.port}"

    async def accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task
        self.answering.add(task)
        ended = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        try:
            with contextlib.suppress(*ended):
                while not writer.is_closing():
                    asked = await _read(reader)
                    self.asked.append(asked)
                    await self.serve(asked, writer)
                    await writer.drain()
        finally:
            self.left.set()
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            self.answering.discard(task)


@contextlib.contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    """Run ``engine`` in a thread for as long as the block lasts."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    done: asyncio.Event = asyncio.Event()

    async def live() -> None:
        if engine.path:
            server = await asyncio.start_unix_server(engine.accept, engine.path)
        else:
            server = await asyncio.start_server(
                engine.accept, "127.0.0.1", engine.port, backlog=128
            )
            engine.port = server.sockets[0].getsockname()[1]
        ready.set()
        await done.wait()
        # Who had asked has left. What comes in just now has a task some turns later, and a
        # server that is closed meanwhile leaves its socket open.
        for _ in range(_LAST_TURNS):
            for task in engine.answering:
                task.cancel()
            await asyncio.gather(*engine.answering)
            await asyncio.sleep(0)
        server.close()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(live())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield engine
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, body, reader)


def say(
    writer: asyncio.StreamWriter,
    body: bytes,
    *,
    status: str = "200 OK",
    content_type: str = "application/json",
    extra: str = "",
) -> None:
    """Write a whole answer."""
    writer.write(
        f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n{extra}"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )


def begin_stream(writer: asyncio.StreamWriter, extra: str = "") -> None:
    """Write the head of a stream of events."""
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        + extra.encode()
        + b"transfer-encoding: chunked\r\n\r\n"
    )


def chunk(data: bytes) -> bytes:
    """Return a piece of a body in HTTP's chunked form."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def events(dialect: str = "lf") -> list[bytes]:
    """Return the same answer's events in a dialect."""
    end, between = DIALECTS[dialect]
    found = []
    for piece in PIECES:
        found += [between, b"data: " + event(piece) + end * 2]
    return [it for it in (*found, b"data: [DONE]" + end * 2) if it]


def answering(dialect: str = "lf", cut: str = "events") -> Serve:
    """Return an engine that answers as it should."""

    async def serve(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.path != CHAT:
            say(writer, b'{"status":"ok"}')
        elif not asked.wants_stream:
            say(writer, json.dumps(answer()).encode(), extra="x-request-id: r1\r\n")
        else:
            pieces = events(dialect)
            if cut == "bytes":
                pieces = [bytes([it]) for piece in pieces for it in piece]
            begin_stream(writer)
            if cut == "one piece":
                pieces = [b"".join(pieces)]
            for piece in pieces:
                writer.write(chunk(piece))
                await writer.drain()
            writer.write(chunk(b""))

    return serve


def saying(raw: bytes, *, closes: bool = True) -> Serve:
    """Return an engine that says ``raw`` to all but the probes of its health."""

    async def serve(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.path == "/health":
            say(writer, b"{}")
            return
        writer.write(raw)
        await writer.drain()
        if closes:
            writer.close()
        else:
            await asked.reader.read()
            writer.close()

    return serve


def reset(raw: bytes) -> Serve:
    """Return an engine that says ``raw``, and then resets the connection."""

    async def serve(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.transport.abort()

    return serve


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
FIRST_EVENT = b"data: " + event(CANARY) + b"\n\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
