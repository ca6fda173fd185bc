"""A connection that ends in the middle, as a TCP peer does it, and bytes no text has."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import httpx2
import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import httpx2_binding, httpx_binding
from stainedglass_output_protection.client.protection import Protection
from tests.client.drivers import PROFILES, protection_for
from tests.client.fake_server import DOCUMENT_PATH, EVENTS, JSON, Received, Wire
from tests.client.sealed_server import SealedServer

CHUNK = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
ENDINGS = ["content-length", "chunked", "not utf-8"]


@dataclass
class Cut:
    """Where the server is, how it ends its answer, and who may ask it."""

    url: str
    ending: str
    protection: Protection

    @property
    def expected(self) -> tuple[type[Exception], ...]:
        """What the ending has to raise."""
        if self.ending == "not utf-8":
            return (errors.MalformedFrameError,)
        return (errors.TruncatedError, errors.SequenceError)


def _received(connection: socket.socket) -> Received:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = [line.partition(": ") for line in lines]
    headers = [(name.lower(), value) for name, _, value in pairs]
    request = Received(method, path, headers, body)
    length = int("".join(request.values("content-length")) or 0)
    while len(request.body) < length:
        request.body += connection.recv(65536)
    return request


def _serve(listener: socket.socket, server: SealedServer, ending: str) -> None:
    """Answer until an answer was cut."""
    is_cut = False
    while not is_cut:
        connection, _ = listener.accept()
        with connection:
            request = _received(connection)
            wire = server.wire_of(request)
            is_cut = request.path != DOCUMENT_PATH
            connection.sendall(_cut(wire, ending) if is_cut else _whole(wire))


def _whole(wire: Wire) -> bytes:
    size = len(wire.body)
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: {JSON}\r\ncontent-length: {size}\r\n"
        "connection: close\r\n\r\n"
    ).encode() + wire.body


def _cut(answer: Wire, ending: str) -> bytes:
    wire = answer.body
    if ending == "not utf-8":
        third = wire.rindex(b"sgop1.AAAA") + len(b"sgop1.")
        wire = wire[:third] + b"\xc1" + wire[third + 1 :]
    half = wire if ending == "not utf-8" else wire[: len(wire) // 2]
    size = str(len(wire)) if ending != "chunked" else ""
    framing = f"content-length: {size}" if size else "transfer-encoding: chunked"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n\r\n"
    body = half if size else f"{len(half):x}\r\n".encode() + half + b"\r\n"
    return head.encode() + body


@pytest.fixture(params=[(profile, it) for profile in PROFILES for it in ENDINGS])
def cut(request: pytest.FixtureRequest) -> Iterator[Cut]:
    profile, ending = request.param
    server = SealedServer()
    server.app.answer = lambda call: Wire(200, {"content-type": EVENTS}, [CHUNK] * 3)
    protection = protection_for(server, profile=PROFILES[profile])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        thread = threading.Thread(target=_serve, args=(listener, server, ending))
        thread.start()
        port = listener.getsockname()[1]
        yield Cut(f"http://127.0.0.1:{port}/v1/chat/completions", ending, protection)
        thread.join()
    assert len(server.attempts) == 1


def test_a_cut_stream_raises_by_name(cut: Cut) -> None:
    transport = httpx_binding.ProtectedTransport(
        httpx.HTTPTransport(), protection=cut.protection
    )
    with httpx.Client(transport=transport) as client:
        with client.stream("POST", cut.url, json={}) as response:
            with pytest.raises(cut.expected):
                list(response.iter_bytes())


async def test_a_cut_stream_raises_by_name_async(cut: Cut) -> None:
    transport = httpx2_binding.AsyncProtectedTransport(
        httpx2.AsyncHTTPTransport(), protection=cut.protection
    )
    async with httpx2.AsyncClient(transport=transport) as client:
        async with client.stream("POST", cut.url, json={}) as response:
            with pytest.raises(cut.expected):
                [chunk async for chunk in response.aiter_bytes()]
