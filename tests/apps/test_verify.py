"""``sg-vllm keys verify URL``: what is said of a server, and what is not accepted."""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stainedglass_output_protection.apps import cli, fetch
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from tests.apps.tls import self_signed, serve_tls
from tests.rings import HOUR, IDENTITY

OTHER = IdentityKey.generate()


def document(now_ms: int | None = None, **options: object) -> str:
    """Return the text of a key document made at a time."""
    now = unix_ms() if now_ms is None else now_ms
    ring = KeyRing(IDENTITY, OwnEpochs(EpochTimes(HOUR)), **options)  # type: ignore[arg-type]
    ring.tick(now)
    return ring.current(now).document_text


class Server:
    """Answers every GET with what it was told, and keeps the paths."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b"{}"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                self.send_response_only(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def answers(self, text: str) -> None:
        self.body = json.dumps({"document": text, "for": "people"}).encode()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def verify(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sg-vllm", "keys", "verify", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *capsys.readouterr())

    return verify


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_a_good_server_is_described(server: Server, verify: Run, suffix: str) -> None:
    server.answers(document())
    began = unix_ms()
    server.headers = {"Date": formatdate(began / 1000 - 90, usegmt=True)}
    status, out, err = verify(server.url + suffix)
    took_s = (unix_ms() - began) / 1000
    assert (status, err) == (0, "")
    assert server.paths == ["/.well-known/output-protection"]
    assert f"identity: {IDENTITY.fingerprint} (not pinned" in out
    assert "suites: x25519, mlkem768-x25519\n" in out
    assert "evidence: none\n" in out
    behind = re.search(r"the server's clock: -(\d+) s", out)
    assert behind is not None
    # Dates have whole seconds, and this one gets older while it is on its way.
    assert 89 <= int(behind[1]) <= 92 + took_s


def test_a_scheme_in_capitals_is_no_file_s_name(server: Server, verify: Run) -> None:
    server.answers(document())
    assert verify(server.url.replace("http:", "HTTP:"))[0] == 0


def test_the_document_is_under_the_base_url_s_prefix(
    server: Server, verify: Run
) -> None:
    server.answers(document(evidence=lambda digest: digest * 2))
    status, out, _ = verify(f"{server.url}/models/a/v1")
    assert server.paths == ["/models/a/.well-known/output-protection"]
    assert status == 0
    assert "evidence: 64 bytes\n" in out
    assert "the server's clock: unknown" in out


def test_the_identity_is_compared_with_the_pins(server: Server, verify: Run) -> None:
    server.answers(document())
    both = ("--identity", OTHER.fingerprint, "--identity", IDENTITY.fingerprint)
    status, out, _ = verify(server.url, *both)
    assert (status, "(as pinned)" in out) == (0, True)
    status, out, err = verify(server.url, *both[:2])
    assert (status, out) == (1, "")
    assert err.startswith("sg-vllm: IdentityMismatchError: The server's identity is ")
    status, _, err = verify(server.url, "--identity", "SHA256:short")
    assert (status, len(err.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (document(unix_ms() - 3 * HOUR), "StatementExpiredError"),
        (document(unix_ms() + HOUR), "StatementExpiredError"),
        (document()[:-4] + "AAAA", "KeyDocumentError"),
        (document()[:200], "KeyDocumentError"),
        ("", "KeyDocumentError"),
    ],
)
def test_what_a_client_would_refuse_is_refused(
    server: Server, verify: Run, text: str, name: str
) -> None:
    server.answers(text)
    status, out, err = verify(server.url)
    assert (status, out) == (1, "")
    assert err.startswith(f"sg-vllm: {name}: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (404, {}, b"no such page \x1b[31m"),
        (302, {"Location": "/elsewhere"}, b""),
        (503, {}, b""),
        (200, {}, b"<html>"),
        (200, {}, b'{"document": 5}'),
        (200, {}, b"[]"),
        (200, {}, b"\xff"),
        (200, {"Content-Length": "10"}, b"short"),
        (200, {}, b" " * (fetch.MAX_SIZE + 1)),
    ],
)
def test_what_is_no_document_is_refused_and_no_redirect_followed(
    server: Server, verify: Run, status: int, headers: dict[str, str], body: bytes
) -> None:
    server.status, server.headers, server.body = status, headers, body
    code, out, err = verify(server.url)
    assert (code, out) == (1, "")
    assert err.startswith("sg-vllm: KeyDocumentError: ")
    assert "\x1b" not in err
    assert len(server.paths) == 1


def test_a_server_that_drips_does_not_hold_us_up(
    verify: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT_S", 0.2)
    ended = threading.Event()

    class Drip(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            try:
                while not ended.wait(0.02):
                    self.request.sendall(b" ")
            except OSError:
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip) as dripping:
        thread = threading.Thread(target=dripping.serve_forever, args=(0.01,))
        thread.start()
        port = dripping.server_address[1]
        code, _, err = verify(f"http://127.0.0.1:{port}")
        ended.set()
        dripping.shutdown()
        thread.join()
    assert (code, "did not answer in time" in err) == (1, True)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://127.0.0.1:x/",
        "http://127.0.0.1:1/",
        "http://h/?a",
        "http://[/",
        "http://a..b/",
        "http://.invalid/",
        f"http://{'h' * 300}/",
        "http://127.0.0.1:1/\u00e9",
        "http://x\udcff/",
        "http://127.0.0.1:1/a b",
        "HTTP://127.0.0.1:1/",
    ],
)
def test_a_url_that_leads_nowhere_is_one_sentence(verify: Run, url: str) -> None:
    code, out, err = verify(url)
    assert (code, out) == (1, "")
    assert err.startswith("sg-vllm: ")
    assert len(err.splitlines()) == 1


def test_a_password_in_a_url_goes_nowhere(
    verify: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def getaddrinfo(host: object, *args: object, **kwargs: object) -> None:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    code, out, err = verify("http://alice:hunter2@llm.example.invalid:8000/v1")
    assert (code, out, asked) == (1, "", [])
    assert "without a name, password" in err
    assert "hunter2" not in err


def unused_url(scheme: str = "http") -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"{scheme}://127.0.0.1:{unused.getsockname()[1]}"


def test_what_is_not_there_is_said_in_a_sentence(server: Server, verify: Run) -> None:
    assert "Nobody listens at that host and port." in verify(unused_url())[2]
    assert "host's name is not known" in verify("http://no-such-host.invalid/")[2]
    tls = server.url.replace("http:", "https:")
    assert "does not speak TLS" in verify(tls)[2]


def test_a_certificate_that_nobody_vouches_for(verify: Run, tmp_path: Path) -> None:
    with serve_tls(self_signed(tmp_path)) as url:
        code, _, err = verify(url)
    assert code == 1
    assert "The server's certificate is not trusted (self-signed certificate)" in err
    assert "SSL_CERT_FILE" in err


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_gone_through_and_named(
    server: Server, verify: Run, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, unused_url())
    code, _, err = verify(server.url)
    assert (code, server.paths) == (1, [])
    assert f"The proxy that {variable.upper()} names is not there" in err
    server.answers(document())
    monkeypatch.setenv(variable, server.url)
    assert verify("http://elsewhere.invalid/v1")[0] == 0
    assert server.paths == ["http://elsewhere.invalid/.well-known/output-protection"]
    monkeypatch.setenv(variable, unused_url())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert verify(server.url)[0] == 0


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://127.0.0.1:1",
        "http://127.0.0.1:99999",
        "http://a..b:1",
        "http://[",
        "http://u:hunter2@h:x",
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_sentence(
    verify: Run, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    code, out, err = verify("http://127.0.0.1:1/")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "ALL_PROXY" in err
    assert "hunter2" not in err
