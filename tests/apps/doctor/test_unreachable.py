"""Servers that cannot be asked: one clear sentence, in good time, without a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.apps.doctor.certificates import self_signed
from tests.apps.doctor.conftest import Examine, url_of
from tests.apps.doctor.engine import Engine
from tests.gateways.serving import on_a_port
from tests.gateways.simulator import Gateway
from tests.gateways.traffic import Answer, Asked, Forward
from tests.gateways.upstream import Upstream


def test_a_port_where_nobody_listens(examine: Examine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        report = examine(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")

    assert report.is_one_sentence(2)
    assert "Nobody listens" in report.err


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_where_nobody_listens_is_named_by_its_variable(
    server: Upstream, examine: Examine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pinned = ("--identity", server.fingerprint, "--probes", "4")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        proxy = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv(name, proxy)
        report = examine(url_of(server), *pinned)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        around = examine(url_of(server), *pinned)

    assert report.is_one_sentence(2)
    assert f"The proxy that {name.upper()} names" in report.err
    assert "secret" not in report.err
    assert around.status == 0


def test_a_name_that_is_unknown(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    report = examine("http://no-such-host.test/v1")

    assert report.is_one_sentence(2)
    assert "name is not known" in report.err


def test_json_says_why_nothing_was_asked(examine: Examine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        report = examine(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "--json")

    said = report.json
    assert (said["exit_status"], said["protected"], said["checks"]) == (2, False, [])
    assert report.err == f"sg-vllm: {said['summary']}\n"


@contextlib.contextmanager
def raw_server(
    *pieces_: bytes, pause_s: float = 0.0, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Serve these bytes to everybody, the last of them again and again after a pause."""
    ended = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                if tls is not None:
                    self.request = tls.wrap_socket(self.request, server_side=True)
                self.request.recv(65536)
                for piece in pieces_:
                    self.request.sendall(piece)
                while pause_s and not ended.wait(pause_s):
                    self.request.sendall(pieces_[-1] if pieces_ else b"")

    class Server(socketserver.ThreadingTCPServer):
        request_queue_size = 128
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            ended.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "sent",
    [
        (),
        (b"",),
        (b"H",),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["silence", "nothing", "status", "headers", "body", "chunks"],
)
def test_a_server_that_hangs_or_drips_does_not_hold_it_up(
    examine: Examine, sent: tuple[bytes, ...]
) -> None:
    with raw_server(*sent, pause_s=0.02) as port:
        report = examine(f"http://127.0.0.1:{port}/v1", "--timeout", "0.3")

    assert report.is_one_sentence(2)
    assert "--timeout" in report.err


def test_a_server_that_hangs_later_leaves_what_else_was_seen(
    server: Upstream, examine: Examine
) -> None:
    has_hung, released = threading.Event(), threading.Event()

    async def hanging_once(asked: Asked, forward: Forward) -> Answer:
        answer = await forward(asked)
        is_sealed = b"sgop1-request" in asked.body and answer.status == 200
        if has_hung.is_set() or not is_sealed:
            return answer
        has_hung.set()
        return Answer(200, answer.headers, never())

    async def never() -> AsyncIterator[bytes]:
        yield b" "
        while not released.is_set():
            await asyncio.sleep(0.02)

    with Gateway(server.port) as gateway:
        gateway.use_acts(hanging_once)
        report = examine(
            *(gateway.base_url, "--json", "--identity", server.fingerprint),
            *("--timeout", "3", "--probes", "4"),
        )
        released.set()

    assert (report.status, set(report.faults)) == (1, {"sealed-unary"})
    assert {"identity", "unprotected-requests", "sealed-stream"} <= set(report.of("ok"))
    assert "--timeout" in report.err


def test_the_whole_run_has_a_limit(
    server: Upstream, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "stainedglass_output_protection.apps.doctor.command._LIMIT_FACTOR", 0.0
    )
    report = examine(url_of(server), "--identity", server.fingerprint)

    assert report.is_one_sentence(2)


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", "was cut"),
    ],
)
def test_what_is_no_http_server(examine: Examine, sent: bytes, word: str) -> None:
    with raw_server(sent) as port:
        report = examine(f"http://127.0.0.1:{port}/v1")

    assert report.is_one_sentence(2)
    assert word in report.err


def tls_context(folder: Path) -> ssl.SSLContext:
    """Return a server's context with a certificate that nobody has signed."""
    file = folder / "tls.pem"
    file.write_bytes(b"".join(self_signed()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_a_certificate_that_is_not_trusted(examine: Examine, tmp_path: Path) -> None:
    with raw_server(tls=tls_context(tmp_path)) as port:
        report = examine(f"https://127.0.0.1:{port}/v1")

    assert report.is_one_sentence(2)
    assert "certificate is not trusted" in report.err


def test_tls_where_none_is_spoken(server: Upstream, examine: Examine) -> None:
    report = examine(f"https://127.0.0.1:{server.port}/v1")

    assert report.is_one_sentence(2)
    assert "TLS" in report.err


def test_no_tls_where_it_is_spoken(examine: Examine, tmp_path: Path) -> None:
    with raw_server(tls=tls_context(tmp_path)) as port:
        report = examine(f"http://127.0.0.1:{port}/v1")

    assert report.is_one_sentence(2)
    assert "https://" in report.err


def test_a_server_without_protection(examine: Examine) -> None:
    engine = Engine()

    async def plain(scope: object, receive: object, send: object) -> None:
        if scope["type"] == "http":  # type: ignore[index]
            await engine(scope, receive, send)

    with on_a_port(plain) as port:
        report = examine(f"http://127.0.0.1:{port}/v1", "--json")
        table = examine(f"http://127.0.0.1:{port}/v1")

    assert set(report.faults) == {"server", "unprotected-requests"}
    assert "without output protection" in report.err
    assert table.is_one_sentence(1)
