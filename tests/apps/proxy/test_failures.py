"""What a program is told when there is no answer that the proxy may give it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest

from stainedglass_output_protection.apps.forwarding import Limits
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.protocol.constants import PROFILE_SEALED
from tests.apps.proxy.apis import ASKED, CHAT, MESSAGES, PATHS, RESPONSES, speaking
from tests.apps.proxy.running import (
    Running,
    proxied,
    serve,
    unused_port,
    wait_for_the_ending,
)
from tests.client.drivers import protection_for
from tests.client.fake_server import FakeServer, Wire
from tests.client.sealed_cases import is_seen
from tests.client.sealed_server import SealedServer

ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "?"}]}
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
ON_EACH_API = pytest.mark.parametrize("path", PATHS)


def error_in(body: bytes, path: str) -> dict[str, Any]:
    """Return an error in the shape of the route's API, and in no other."""
    told = json.loads(body)
    expected = {"type", "error"} if path == MESSAGES else {"error"}
    assert set(told) == expected
    if path == MESSAGES:
        assert told["type"] == "error"
    error: dict[str, Any] = told["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def refused(proxy: Running, path: str = CHAT, *, stream: bool = False) -> Any:
    """Ask, and return the answer, which must be an error, with its code."""
    answer = httpx.post(f"{proxy.url}{path}", json={**ASKED, "stream": stream})
    error = error_in(answer.content, path)
    assert error["message"]
    return answer.status_code, error["code"], answer.headers.get("x-should-retry")


# --- before an answer has begun ---


@STREAMED
@ON_EACH_API
def test_another_identity_gets_nothing(
    server: SealedServer, path: str, stream: bool
) -> None:
    with proxied(server.base_url, protection_for(SealedServer())) as proxy:
        told = refused(proxy, path, stream=stream)

    assert told == (502, "identity_mismatch", "false")
    assert not server.attempts
    assert not is_seen(server, "Where to?")


@STREAMED
@ON_EACH_API
def test_a_server_without_protection(path: str, stream: bool) -> None:
    plain = SealedServer()
    app = FakeServer()
    app._honest = lambda request: speaking(plain).app.answer(request)  # type: ignore[method-assign]
    with serve(app), proxied(app.base_url, protection_for(plain)) as proxy:
        told = refused(proxy, path, stream=stream)

    assert told == (502, "unprotected_response", "false")
    assert not is_seen(app, "Where to?")


@ON_EACH_API
def test_a_server_that_is_gone(path: str) -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    with proxied(url, protection_for(SealedServer())) as proxy:
        status, code, retry = refused(proxy, path)

    # Nothing has been asked, so a program may try again.
    assert (status, code, retry) == (502, "server_unreachable", None)


def test_a_proxy_of_the_environment_that_is_gone(
    server: SealedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    with proxied(server.base_url, protection_for(server)) as proxy:
        monkeypatch.delenv("http_proxy")
        answer = httpx.post(f"{proxy.url}{CHAT}", json=ASKED)

    error = error_in(answer.content, CHAT)
    assert (answer.status_code, error["code"]) == (502, "server_unreachable")
    assert "HTTP_PROXY" in error["message"]
    assert "URL" not in error["message"]


def test_a_name_that_does_not_exist() -> None:
    url = "http://no-such-host.invalid:8000/v1"
    with proxied(url, protection_for(SealedServer())) as proxy:
        assert refused(proxy)[:2] == (502, "server_unreachable")


def test_a_server_that_says_nothing() -> None:
    limits = Limits(silence_s=0.05)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        protection = protection_for(SealedServer())
        with proxied(url, protection, limits=limits) as proxy:
            assert refused(proxy) == (504, "server_timeout", None)


@pytest.mark.parametrize("days", [-2, 2])
def test_a_wrong_clock(server: SealedServer, days: int) -> None:
    settings = ClientSettings(
        pins=frozenset({server.fingerprint}), profile=PROFILE_SEALED
    )
    protection = Protection(settings, clock=lambda: time.time() + days * 86400)
    with proxied(server.base_url, protection) as proxy:
        told = refused(proxy)

    assert told == (502, "statement_expired", "false")


def test_a_redirect_is_not_followed(server: SealedServer, proxy: Running) -> None:
    elsewhere = {"location": "http://127.0.0.1:1/v1/chat/completions"}
    server.tamper = lambda wire: Wire(307, elsewhere, [])

    assert refused(proxy) == (502, "redirect_refused", "false")


def test_a_cut_unary_answer(server: SealedServer, proxy: Running) -> None:
    server.tamper = lambda wire: Wire(200, wire.headers, [wire.body[:-40]])

    assert refused(proxy)[0] == 502


def test_something_behind_a_unary_answer(server: SealedServer) -> None:
    def add(wire: Wire) -> Wire:
        wire.headers.pop("content-length", None)
        return Wire(200, wire.headers, [wire.body, b"more"])

    server.tamper = add
    protection = protection_for(server, asks_opaque=True)

    with proxied(server.base_url, protection) as proxy:
        assert refused(proxy) == (502, "trailing_data", "false")


def test_an_encoding_that_is_none(server: SealedServer, proxy: Running) -> None:
    server.tamper = lambda wire: Wire(
        200, {**wire.headers, "content-encoding": "gzip"}, [wire.body]
    )

    assert refused(proxy) == (502, "malformed_answer", "false")


def test_an_error_of_a_gateway_is_passed_on_as_such(
    server: SealedServer, proxy: Running
) -> None:
    page = b"<html>Too many requests</html>"
    headers = {"content-type": "text/html", "retry-after": "7"}
    server.tamper = lambda wire: Wire(429, headers, [page])

    answer = httpx.post(f"{proxy.url}{CHAT}", json=ASKED)

    assert (answer.status_code, answer.content) == (429, page)
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-output-protection"] == "unauthenticated"


# --- in the middle of a stream ---


def _flipped(wire: Wire) -> Wire:
    part = wire.parts[3]
    at = part.index(b"sgop1.") + 20
    other = b"A" if part[at : at + 1] != b"A" else b"B"
    return _with(wire, [*wire.parts[:3], part[:at] + other + part[at + 1 :]])


def _with(wire: Wire, parts: list[bytes]) -> Wire:
    return Wire(wire.status, wire.headers, parts)


FAULTS: dict[str, tuple[Callable[[Wire], Wire], set[str]]] = {
    "flipped": (_flipped, {"decryption", "malformed_frame", "sequence"}),
    "dropped": (
        lambda wire: _with(wire, [*wire.parts[:3], *wire.parts[4:]]),
        {"sequence"},
    ),
    "repeated": (
        lambda wire: _with(wire, [*wire.parts[:3], *wire.parts[2:]]),
        {"sequence"},
    ),
    "cut": (lambda wire: _with(wire, wire.parts[:3]), {"truncated"}),
    "cut, with a clear end": (
        lambda wire: _with(wire, [*wire.parts[:3], b"data: [DONE]\n\n"]),
        {"truncated"},
    ),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, server: SealedServer) -> set[str]:
    """A fault of the network; gives the codes that may name it."""
    speaking(server).tamper, codes = FAULTS[request.param]
    return codes


@ON_EACH_API
def test_a_tampered_stream_ends_with_an_error_and_is_broken_off(
    proxy: Running, path: str, fault: set[str]
) -> None:
    parts: list[bytes] = []
    asked = {**ASKED, "stream": True}
    with httpx.stream("POST", f"{proxy.url}{path}", json=asked) as answer:
        with pytest.raises(httpx.RemoteProtocolError):
            parts.extend(answer.iter_raw())

    received = b"".join(parts)
    *events, last, rest = received.split(b"\n\n")
    assert len(events) == 3
    assert rest == b""
    assert b"[DONE]" not in received
    line, _, data = last.rpartition(b"data: ")
    assert line == (b"" if path == CHAT else b"event: error\n")
    told = json.loads(data)
    if path == RESPONSES:
        assert told["type"] == "error"
        assert told["code"] == told["error"]["code"]
    else:
        error_in(data, path)
    assert told["error"]["code"] in fault


def test_a_tampered_stream_raises_in_the_openai_sdk(
    proxy: Running, fault: set[str]
) -> None:
    said: list[Any] = []
    with openai.OpenAI(base_url=proxy.v1, api_key="none") as client:
        events = client.chat.completions.create(**ASK, stream=True)
        with pytest.raises(openai.APIError) as caught:
            said.extend(events)

    assert caught.value.code in fault
    assert len(said) == 3


def test_a_tampered_stream_raises_in_the_responses_api(
    proxy: Running, fault: set[str]
) -> None:
    with openai.OpenAI(base_url=proxy.v1, api_key="none") as client:
        with pytest.raises(openai.APIError):
            list(client.responses.create(model="tiny", input="?", stream=True))


def test_a_tampered_stream_raises_in_the_anthropic_sdk(
    proxy: Running, fault: set[str]
) -> None:
    with anthropic.Anthropic(base_url=proxy.url, api_key="none") as client:
        with pytest.raises(anthropic.APIError):
            with client.messages.stream(**ASK, max_tokens=9) as stream:
                list(stream)


# --- what SDKs make of it ---


def test_sdks_do_not_ask_again_when_protection_failed(server: SealedServer) -> None:
    server.tamper = lambda wire: Wire(
        200, {"content-type": "application/json"}, [b"{}"]
    )
    protection = protection_for(server)
    with proxied(server.base_url, protection) as proxy:
        with openai.OpenAI(base_url=proxy.v1, api_key="none") as client:
            with pytest.raises(openai.InternalServerError) as told:
                client.chat.completions.create(**ASK)
        with anthropic.Anthropic(base_url=proxy.url, api_key="none") as other:
            with pytest.raises(anthropic.InternalServerError):
                other.messages.create(**ASK, max_tokens=9)

    assert told.value.code == "unprotected_response"
    assert "came back unprotected" in str(told.value)
    assert [attempt.path for attempt in server.attempts] == [CHAT, MESSAGES]


def test_errors_are_logged_without_a_word_of_the_request(
    server: SealedServer, caplog: pytest.LogCaptureFixture
) -> None:
    with proxied(server.base_url, protection_for(SealedServer())) as proxy:
        refused(proxy)
    wait_for_the_ending()

    assert "identity_mismatch" in caplog.text
    assert "Where to?" not in caplog.text
