"""One request through a transport: its headers, its key, its marks, its end."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import httpx2
import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import bodies
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.request import Request
from stainedglass_output_protection.client.verdict import Mark, Verdict
from tests import reference
from tests.client.drivers import CHAT, LIBRARIES, Driver, protection_for
from tests.client.fake_server import (
    CLIENT_KEY,
    DONE,
    EVENTS,
    JSON,
    MODELS,
    FakeServer,
    Wire,
    chat_body,
    error_body,
    plain_events,
)


def test_each_attempt_sends_one_fresh_key_over_the_callers(
    driver: Driver, fake: FakeServer
) -> None:
    headers = {"X-Client-Public-Key": "mine", "Accept-Encoding": "gzip", "x-other": "1"}
    for _ in range(2):
        assert driver.ask(fake, headers=headers).body == chat_body()
    keys = [request.client_key for request in fake.attempts]
    assert all(reference.client_key(key) for key in keys)
    assert "mine" not in keys
    assert keys[0] != keys[1]
    in_header = 1 if fake.profile == "output" else 0
    assert [len(it.values(CLIENT_KEY)) for it in fake.attempts] == [in_header] * 2
    assert fake.attempts[0].values("accept-encoding") == ["identity"]
    assert fake.attempts[0].values("x-other") == ["1"]


def test_a_request_object_sent_twice_is_not_changed(fake: FakeServer) -> None:
    transport = Driver("httpx2", is_async=False).transport(fake)
    with httpx2.Client(transport=transport) as client:
        request = client.build_request("POST", f"http://server.test{CHAT}", json={})
        client.send(request)
        client.send(request)
    assert CLIENT_KEY not in request.headers
    keys = {request.client_key for request in fake.attempts}
    assert len(keys) == 2


def test_a_thousand_requests_never_share_a_key(fake: FakeServer) -> None:
    transport = Driver("httpx2", is_async=False).transport(fake)
    failures: list[BaseException] = []

    def ask_fifty_times() -> None:
        try:
            with httpx2.Client(transport=transport) as client:
                for _ in range(50):
                    answer = client.post(f"http://server.test{CHAT}", json={})
                    assert answer.content == chat_body()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=ask_fifty_times) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len({request.client_key for request in fake.attempts}) == 1000


def test_the_key_header_can_be_renamed(driver: Driver) -> None:
    fake = FakeServer()
    protection = protection_for(fake, client_key_header="x-renamed")
    answer = driver.ask(fake, protection=protection)
    assert answer.status == 400
    assert len(fake.received[0].values("x-renamed")) == 1


def test_an_opened_answer_names_the_server_and_its_epoch(
    driver: Driver, fake: FakeServer
) -> None:
    answer = driver.ask(fake)
    assert answer.headers["x-output-protection"] == "opened"
    assert answer.extensions["output_protection"] == Verdict(
        Mark.OPENED, fake.fingerprint, fake.key_id
    )


@pytest.mark.parametrize("path", ["/v1/models", "/prefix/v1/models", "/health"])
def test_a_clear_route_is_passed_through(
    path: str, driver: Driver, fake: FakeServer
) -> None:
    clear = Wire(302, {"location": "/x", "x-output-protection": "opened"}, [MODELS])
    fake.tamper = lambda wire: clear
    answer = driver.ask(fake, method="GET", path=path, headers={CLIENT_KEY: "mine"})
    assert (answer.status, answer.body) == (302, MODELS)
    assert fake.received[0].values(CLIENT_KEY) == ["mine"]
    assert answer.headers["x-output-protection"] == "clear"
    assert answer.extensions["output_protection"] == Verdict(Mark.CLEAR)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/models/x"),
        ("GET", "/xhealth"),
    ],
)
def test_any_other_route_must_be_sealed(
    method: str, path: str, driver: Driver, fake: FakeServer
) -> None:
    fake.tamper = lambda wire: Wire(200, {"content-type": JSON}, [MODELS])
    answer = driver.ask(fake, method=method, path=path)
    assert type(answer.error) is errors.UnprotectedResponseError


@pytest.mark.parametrize(
    "wire",
    [
        Wire(401, {"content-type": JSON}, [error_body("no such key", 401)]),
        Wire(502, {"content-type": "text/html"}, [b"<html>", b"bad gateway"]),
        Wire(503, {}, []),
        Wire(429, {"content-type": EVENTS}, [*plain_events(), DONE]),
        Wire(500, {"content-type": EVENTS}, [b"data: " + error_body("x") + b"\n\n"]),
    ],
    ids=lambda wire: str(wire.status),
)
def test_an_unsealed_error_is_passed_on_and_marked(
    wire: Wire, driver: Driver, fake: FakeServer
) -> None:
    headers = {**wire.headers, "x-output-protection": "opened", "retry-after": "3"}
    fake.tamper = lambda _: replace(wire, headers=headers)
    answer = driver.ask(fake, stream=True)
    assert (answer.status, answer.body) == (wire.status, wire.body)
    assert answer.headers["retry-after"] == "3"
    assert answer.headers.get("content-type") == wire.headers.get("content-type")
    assert answer.headers["x-output-protection"] == "unauthenticated"
    assert answer.extensions["output_protection"] == Verdict(Mark.UNAUTHENTICATED)
    assert driver.closed == [True]


def test_a_sealed_error_shows_its_inner_status(
    driver: Driver, fake: FakeServer
) -> None:
    fake.tamper = lambda wire: replace(wire, status=500)
    answer = driver.ask(fake, asked={"model": "unknown"})
    assert answer.status == 400
    assert answer.body == error_body("The model `unknown` is secret.")
    assert answer.headers["x-output-protection"] == "opened"


def test_a_sealed_error_that_does_not_open_is_not_passed_on(
    driver: Driver, fake: FakeServer
) -> None:
    fake.tamper = lambda wire: replace(
        wire, parts=[wire.body.replace(b"sgop1.", b"sgop1.AA")]
    )
    answer = driver.ask(fake, asked={"model": "unknown"})
    assert type(answer.error) is errors.MalformedFrameError


def test_a_transport_serves_its_first_origin_only(
    driver: Driver, fake: FakeServer
) -> None:
    protection = protection_for(fake)
    origin = ("http", "other.test", None)
    protection.begin(Request("GET", origin, "/health", "/health", "", "", "", b""))
    answer = driver.ask(fake, protection=protection)
    assert type(answer.error) is errors.UsageError
    assert fake.received == []


def test_events_are_released_one_by_one(driver: Driver, fake: FakeServer) -> None:
    answer = driver.ask(fake, stream=True)
    assert answer.chunks == [*plain_events(), DONE]


def test_too_large_a_body_is_refused(
    driver: Driver, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies.HeldBytes.__init__, "__defaults__", (100,))
    assert type(driver.ask(fake).error) is errors.TooLargeError
    assert driver.closed == [True]


def test_reading_on_after_an_error_raises_it_again(fake: FakeServer) -> None:
    fake.tamper = lambda wire: replace(wire, parts=wire.parts[:3])
    transport = Driver("httpx2", is_async=False).transport(fake)
    request = httpx2.Request("POST", f"http://server.test{CHAT}", json={"stream": True})
    stream: Any = transport.handle_request(request).stream
    released = []
    with pytest.raises(errors.TruncatedError):
        released.extend(stream)
    with pytest.raises(errors.TruncatedError):
        released.extend(stream)
    assert released == plain_events()[:3]


def test_closing_early_is_quiet_and_closes_the_inner_response(
    driver: Driver, fake: FakeServer
) -> None:
    transport = driver.transport(fake)
    library: Any = httpx2 if driver.library == "httpx2" else httpx
    request = library.Request(
        "POST", f"http://server.test{CHAT}", json={"stream": True}
    )

    async def close_early() -> Any:
        stream = (await transport.handle_async_request(request)).stream
        assert await stream.__anext__() == plain_events()[0]
        await stream.aclose()
        with pytest.raises(errors.TruncatedError):
            await stream.__anext__()

    if driver.is_async:
        asyncio.run(close_early())
    else:
        stream = transport.handle_request(request).stream
        assert next(stream) == plain_events()[0]
        stream.close()
        with pytest.raises(errors.TruncatedError):
            next(stream)
    assert driver.closed == [True]


def test_a_transport_shows_no_secret_in_its_repr(fake: FakeServer) -> None:
    transport = Driver("httpx", is_async=False).transport(fake)
    assert repr(transport).startswith("ProtectedTransport(<")


def test_an_answer_without_a_content_type_shows_none(
    driver: Driver, fake: FakeServer
) -> None:
    def without_type(wire: Wire) -> Wire:
        request = fake.received[-1]
        (text,) = fake.frames(request, [b"x"], status=201, content_type="")
        return replace(wire, parts=[json.dumps({"sealed": text}).encode()])

    fake.tamper = without_type
    answer = driver.ask(fake)
    assert (answer.status, answer.body) == (201, b"x")
    assert "content-type" not in answer.headers


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_body_that_grew_has_one_length(name: str) -> None:
    library, binding = LIBRARIES[name]
    seen: list[Any] = []

    class Inner(library.BaseTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            seen.append(request)
            return library.Response(401, content=b"no")

    def pieces() -> Iterator[bytes]:
        yield b'{"a":1}'

    transport = binding.ProtectedTransport(Inner(), protection=Protection())
    hooks = {"request": [lambda request: request.read()]}
    headers = {"content-type": "application/json"}
    with library.Client(transport=transport, event_hooks=hooks) as client:
        client.post("http://h/v1/x", content=pieces(), headers=headers)
        signed = {**headers, "content-digest": "sha-256=:x:"}
        client.post("http://h/v1/x", content=b'{"a":1}', headers=signed)
    assert "transfer-encoding" not in seen[0].headers
    assert seen[0].headers["content-length"] == str(len(seen[0].read()))
    assert b"sg_client_public_key" in seen[0].read()
    assert seen[1].read() == b'{"a":1}'
