"""A connection that ends in the middle, as a TCP peer does it, and bytes no text has."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import httpx
import httpx2
import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import httpx2_binding, httpx_binding
from tests.asgi_driver import answering, body_of, call, protect

CHUNK = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'


def _serve_once(listener: socket.socket, ending: str) -> None:
    connection, _ = listener.accept()
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        key = request.lower().index(b"x-client-public-key: ")
        value = request[key:].split(b": ", 1)[1].split(b"\r\n")[0]
        pieces = [CHUNK] * 3
        sent = asyncio.run(
            call(
                protect(answering(*pieces)),
                headers=[(b"x-client-public-key", value)],
            )
        )
        wire = body_of(sent)
        if ending == "not utf-8":
            third = wire.rindex(b"sgop1.AAAA") + len(b"sgop1.")
            wire = wire[:third] + b"\xc1" + wire[third + 1 :]
        half = wire if ending == "not utf-8" else wire[: len(wire) // 2]
        size = str(len(wire)) if ending != "chunked" else ""
        framing = f"content-length: {size}" if size else "transfer-encoding: chunked"
        head = (
            f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n\r\n"
        )
        body = half if size else f"{len(half):x}\r\n".encode() + half + b"\r\n"
        connection.sendall(head.encode() + body)


@pytest.fixture(params=["content-length", "chunked", "not utf-8"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve_once, args=(listener, request.param))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions"
        thread.join()


def expected(request: pytest.FixtureRequest) -> tuple[type[Exception], ...]:
    """Return what the ending of this case has to raise."""
    if request.node.callspec.params["url"] == "not utf-8":
        return (errors.MalformedFrameError,)
    return (errors.TruncatedError, errors.SequenceError)


def test_a_cut_stream_raises_by_name(url: str, request: pytest.FixtureRequest) -> None:
    transport = httpx_binding.ProtectedTransport(httpx.HTTPTransport())
    with httpx.Client(transport=transport) as client:
        with client.stream("POST", url, json={}) as response:
            with pytest.raises(expected(request)):
                list(response.iter_bytes())


async def test_a_cut_stream_raises_by_name_async(
    url: str, request: pytest.FixtureRequest
) -> None:
    transport = httpx2_binding.AsyncProtectedTransport(httpx2.AsyncHTTPTransport())
    async with httpx2.AsyncClient(transport=transport) as client:
        async with client.stream("POST", url, json={}) as response:
            with pytest.raises(expected(request)):
                [chunk async for chunk in response.aiter_bytes()]
