"""Requests and answers that try to be understood in two ways, and odd but honest ones."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from stainedglass_output_protection.apps.forwarding import Limits
from stainedglass_output_protection.apps.proxy.reading import fastest_reader, h11_reader
from tests.apps.proxy.apis import ASKED, CHAT, expected_body, speaking
from tests.apps.proxy.raw import TIMEOUT_S, asked_raw, code_of, sent_raw, status_of
from tests.apps.proxy.running import Running, proxied
from tests.client.drivers import protection_for
from tests.client.fake_server import JSON, Wire
from tests.client.sealed_server import SealedServer

BODY = json.dumps(ASKED).encode()
LENGTH = f"Content-Length: {len(BODY)}"
TYPE = "Content-Type: application/json"
CHUNKED = b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"


@pytest.fixture(params=["h11", "httptools"])
def proxy(server: SealedServer, request: pytest.FixtureRequest) -> Iterator[Running]:
    """A proxy that has pinned the server, with each of the two readers of requests."""
    http = h11_reader()
    if request.param == "httptools":
        pytest.importorskip("httptools", reason="h11 reads where it is not installed")
        http = fastest_reader()
    with proxied(server.base_url, protection_for(server), http=http) as running:
        yield running


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example/v1/models",
        "/v1//models",
        "/v1/../admin",
        "/v1/%2e%2E/admin",
        "/v1/.%2e/admin",
        "/v1/./models",
        "/v1/models/..",
        "/v1/..%2fadmin",
        "/v1\\..\\admin",
        "/v1/models%00",
        "http://evil.example/v1/models",
        "/http://evil.example/v1/models",
        "/other/v1/models",
        "*",
        "/v1/models#x",
        "/v1/mod\xe8ls",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(
    server: SealedServer, proxy: Running, target: str
) -> None:
    received = asked_raw(proxy, target, method="GET")

    assert status_of(received) in (400, 404)
    assert not server.received


@pytest.mark.parametrize("target", ["evil.example:443", "/v1/models"])
def test_it_is_no_tunnel(server: SealedServer, proxy: Running, target: str) -> None:
    assert status_of(asked_raw(proxy, target, method="CONNECT")) in (400, 405)
    assert not server.received


@pytest.mark.parametrize(
    "lines",
    [
        [LENGTH, "Content-Length: 3"],
        [LENGTH, "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: identity, chunked"],
        ["Transfer-Encoding : chunked"],
        ["Content-Length: +5"],
        [LENGTH, " folded: x"],
        [LENGTH, "X-Header: a\x00b"],
    ],
    ids=str,
)
def test_headers_with_two_meanings_are_refused_or_have_one(
    server: SealedServer, proxy: Running, lines: list[str]
) -> None:
    smuggled = b"GET /v1/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    received = asked_raw(proxy, CHAT, *lines, body=BODY + smuggled)

    if status_of(received) == 200:
        (attempt,) = server.attempts
        assert attempt.path == CHAT
    else:
        assert status_of(received) in (400, 501)
        assert not server.attempts
    assert not [it for it in server.received if "smuggled" in it.path]


@pytest.mark.parametrize(
    "lines",
    [
        ["Host: evil.example"],
        [TYPE, "Content-Type: text/plain"],
        ["Authorization: Bearer a", "Authorization: Bearer b"],
        ["X-Api-Key: a", "X-Api-Key: b"],
    ],
    ids=str,
)
def test_a_header_that_must_be_there_once(
    server: SealedServer, proxy: Running, lines: list[str]
) -> None:
    assert status_of(asked_raw(proxy, CHAT, LENGTH, *lines, body=BODY)) == 400
    assert not server.received


def test_a_chunked_request_arrives_whole_and_with_one_length(
    server: SealedServer, proxy: Running
) -> None:
    received = asked_raw(proxy, CHAT, TYPE, "Transfer-Encoding: chunked", body=CHUNKED)

    assert status_of(received) == 200
    (attempt,) = server.attempts
    assert attempt.values("transfer-encoding") == []
    assert attempt.values("content-length") == [str(len(attempt.body))]


def test_headers_for_one_connection_are_not_passed_on(
    server: SealedServer, proxy: Running
) -> None:
    lines = [
        *(LENGTH, TYPE, "Keep-Alive: x", "TE: trailers", "Trailer: x"),
        *("Proxy-Authorization: Basic x", "Proxy-Connection: x", "Upgrade: h2c"),
        *("Connection: X-Secret, Content-Type, Authorization", "X-Secret: x"),
        *("Authorization: Bearer key", "X-Kept: 1", "X-Kept: 2"),
    ]
    assert status_of(asked_raw(proxy, CHAT, *lines, body=BODY)) == 200

    (attempt,) = server.attempts
    names = {name for name, _ in attempt.headers}
    assert names <= {
        *("host", "content-type", "content-length", "accept-encoding", "x-kept"),
        *("authorization", "connection"),
    }
    assert attempt.values("x-kept") == ["1", "2"]
    assert attempt.values("authorization") == ["Bearer key"]
    assert "evil" not in attempt.values("host")[0]


def test_an_answer_cannot_take_its_mark_or_type_away(
    server: SealedServer, proxy: Running
) -> None:
    def named(wire: Wire) -> Wire:
        wire.headers["connection"] = "x-output-protection, content-type, x-gone"
        wire.headers["x-gone"] = "x"
        wire.headers["x-output-protection"] = "opened"
        return wire

    server.tamper = named

    answer = httpx.get(f"{proxy.url}/v1/models")

    assert answer.headers["x-output-protection"] == "clear"
    assert answer.headers["content-type"] == JSON
    assert "x-gone" not in answer.headers


def test_a_larger_request_than_allowed_is_refused(server: SealedServer) -> None:
    limits = Limits(request_bytes=1000)
    protection = protection_for(server)
    with proxied(server.base_url, protection, limits=limits) as proxy:
        told = asked_raw(proxy, CHAT, TYPE, "Content-Length: 1001")
        chunked = b"3e8\r\n" + bytes(1000) + b"\r\n1\r\nx\r\n0\r\n\r\n"
        counted = asked_raw(
            proxy, CHAT, TYPE, "Transfer-Encoding: chunked", body=chunked
        )
        lying = asked_raw(
            proxy,
            CHAT,
            *(TYPE, "Content-Length: 1", "Transfer-Encoding: chunked"),
            body=chunked,
        )
        expecting = asked_raw(
            proxy, CHAT, TYPE, "Content-Length: 1001", "Expect: 100-continue"
        )
        exact = asked_raw(proxy, CHAT, TYPE, LENGTH, f"X-Size: {len(BODY)}", body=BODY)

    for received in (told, counted, expecting):
        assert (status_of(received), code_of(received)) == (413, "request_too_large")
    assert status_of(lying) in (400, 413)
    assert status_of(exact) == 200
    assert len(server.attempts) == 1


def test_huge_headers_are_refused(server: SealedServer, proxy: Running) -> None:
    received = asked_raw(proxy, "/v1/models", "X-Huge: " + "x" * 200_000, method="GET")

    assert received == b"" or status_of(received) in (400, 431)
    assert not server.received


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /v1/" + b"x" * 1000,
        b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Huge: " + b"x" * 1000,
        b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Many: x\r\n" * 100,
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
        "\r\n0\r\nX-Trailer: ".encode()
        + b"x" * 1000,
    ],
    ids=["path", "header", "headers", "trailer"],
)
def test_what_never_ends_is_not_kept(
    server: SealedServer, proxy: Running, endless: bytes
) -> None:
    more = endless[-1000:] * 64
    with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_S) as connection:
        connection.sendall(endless)
        with pytest.raises(ConnectionError):
            # More than the buffers between here and there.
            connection.sendall(more * 1024)

    assert not server.attempts


def test_a_trailer_is_no_header(server: SealedServer, proxy: Running) -> None:
    body = CHUNKED[:-2] + b"X-Late: 1\r\nAuthorization: Bearer late\r\n\r\n"
    received = asked_raw(proxy, CHAT, TYPE, "Transfer-Encoding: chunked", body=body)

    assert status_of(received) == 200
    (attempt,) = server.attempts
    assert attempt.values("x-late") == attempt.values("authorization") == []


def test_a_websocket_is_refused(server: SealedServer, proxy: Running) -> None:
    received = asked_raw(
        proxy,
        "/v1/realtime",
        *("Upgrade: WebSocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x"),
        method="GET",
    )

    assert (status_of(received), code_of(received)) == (403, "websocket_refused")
    assert not server.received


def test_http_1_0_is_refused(server: SealedServer, proxy: Running) -> None:
    received = asked_raw(proxy, CHAT, LENGTH, body=BODY, version="1.0")

    assert (status_of(received), code_of(received)) == (505, "http_version_refused")
    assert not server.received


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "3.0"])
def test_other_versions_are_refused(
    server: SealedServer, proxy: Running, version: str
) -> None:
    received = asked_raw(proxy, CHAT, LENGTH, body=BODY, version=version)

    assert status_of(received) in (400, 505)
    assert not server.received


def test_expect_100_continue_is_answered_here(
    server: SealedServer, proxy: Running
) -> None:
    received = asked_raw(proxy, CHAT, TYPE, LENGTH, "Expect: 100-continue", body=BODY)

    assert received.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 200 " in received
    (attempt,) = server.attempts
    assert attempt.values("expect") == []


def test_two_requests_on_one_connection(server: SealedServer, proxy: Running) -> None:
    speaking(server)
    one = (
        f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\n{TYPE}\r\n{LENGTH}\r\n"
    ).encode()
    received = sent_raw(
        proxy,
        one + b"\r\n" + BODY + one + b"Connection: close\r\n\r\n" + BODY,
    )

    assert received.count(b"HTTP/1.1 200") == 2
    assert received.count(expected_body(CHAT)) == 2
    assert len(server.attempts) == 2


@pytest.mark.parametrize(
    ("method", "status", "headers", "body"),
    [
        ("HEAD", 200, {"content-length": "84", "etag": '"1"'}, b""),
        ("GET", 204, {"x-kept": "1"}, b""),
        ("GET", 304, {"etag": '"1"'}, b""),
        ("GET", 307, {"location": "/v1/models/"}, b""),
        ("GET", 418, {"retry-after": "7"}, b"teapot"),
        ("GET", 503, {"content-length": "4"}, b"busy"),
    ],
)
def test_every_status_and_header_of_a_clear_route_is_passed_on(
    server: SealedServer,
    proxy: Running,
    method: str,
    status: int,
    headers: dict[str, str],
    body: bytes,
) -> None:
    server.tamper = lambda wire: Wire(status, dict(headers), [body])

    answer = httpx.request(method, f"{proxy.url}/v1/models")

    assert (answer.status_code, answer.content) == (status, body)
    assert headers.items() <= dict(answer.headers).items()
    assert answer.headers["x-output-protection"] == "clear"
    assert server.attempts[0].method == method


def test_options_without_a_page_is_sealed_like_any_other(
    server: SealedServer, proxy: Running
) -> None:
    answer = httpx.options(f"{proxy.url}{CHAT}")

    assert answer.headers["x-output-protection"] in ("opened", "unauthenticated")
    (attempt,) = server.attempts
    assert attempt.method == "OPTIONS"


def test_the_query_is_passed_on_as_it_came(
    server: SealedServer, proxy: Running
) -> None:
    asked_raw(proxy, "/v1/models?a=%2e%2e/..&b=//x&a=%C3%BC", method="GET")

    (attempt,) = server.attempts
    assert attempt.query == "a=%2e%2e/..&b=//x&a=%C3%BC"


def test_a_base_url_with_a_path_stays_in_front(server: SealedServer) -> None:
    server.prefix = "/tenant"
    url = server.base_url.replace("/v1", "/tenant/v1")
    with proxied(url, protection_for(server)) as proxy:
        answer: Any = httpx.post(f"{proxy.url}{CHAT}", json=ASKED)

    assert answer.status_code == 200
    assert server.attempts[0].path == f"/tenant{CHAT}"
