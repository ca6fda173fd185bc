"""What a client and a gateway see of the middleware's answers."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.registry import SHARED_REGISTRY
from tests.asgi_driver import (
    CHAT,
    Opened,
    answering,
    body_of,
    call,
    header_of,
    make_ring,
    protect,
)
from tests.rings import own_ring

CANARY = "quixotic-vermilion"
CHUNK = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,'
    '"model":"m","choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,'
    '"finish_reason":null}]}\n\n'
)
DONE = b"data: [DONE]\n\n"
KEY = ClientKeyPair.generate().header_value.encode()
LOW_ORDER = base64.b64encode((1).to_bytes(32, "little"))


def chunk(text: str) -> bytes:
    return (CHUNK % text).encode()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([], "client_key_missing"),
        ([b""], "client_key_malformed"),
        ([KEY[:-1]], "client_key_malformed"),
        ([KEY[:-2] + b"=="], "client_key_malformed"),
        ([KEY + b" "], "client_key_malformed"),
        ([base64.b64encode(bytes(31))], "client_key_malformed"),
        ([base64.b64encode(bytes(33))], "client_key_malformed"),
        ([LOW_ORDER], "client_key_malformed"),
        ([b"\xff" * 44], "client_key_malformed"),
        ([KEY, KEY], "client_key_duplicated"),
    ],
)
async def test_a_bad_client_key_is_a_400_and_reaches_nothing(
    values: list[bytes], code: str
) -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the application was called")

    headers = [(b"x-client-public-key", value) for value in values]
    sent = await call(protect(never), headers=headers)
    assert sent[0]["status"] == 400
    error = json.loads(body_of(sent))["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}
    assert header_of(sent, b"x-should-retry") == [b"false"]
    for value in values:
        assert not value or value not in body_of(sent)


async def test_a_stream_opens_to_the_very_bytes_and_carries_no_text() -> None:
    events = [chunk(f"{CANARY} {number}") for number in range(20)]
    key_pair = ClientKeyPair.generate()
    sent = await call(protect(answering(*events, DONE)), key_pair=key_pair)
    opened = Opened(sent, key_pair)
    assert opened.is_complete
    assert opened.body == b"".join(events) + DONE
    assert (opened.status, opened.content_type) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    assert CANARY.encode() not in body_of(sent)
    assert body_of(sent).endswith(DONE)
    assert header_of(sent, b"cache-control") == [b"no-store"]
    assert len(header_of(sent, b"x-server-public-key")) == 1
    assert header_of(sent, b"content-length") == []


async def test_each_event_goes_out_when_it_comes() -> None:
    sent = await call(
        protect(answering(chunk("a"), chunk("b"), DONE)),
        key_pair=ClientKeyPair.generate(),
    )
    bodies = [message["body"] for message in sent if "body" in message]
    assert [body.count(b"sgop1.") for body in bodies] == [1, 1, 1]


async def test_an_application_that_stops_short_leaves_no_final_frame() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        for body in (chunk("a"), DONE):
            message = {"type": "http.response.body", "body": body, "more_body": True}
            await send(message)

    key_pair = ClientKeyPair.generate()
    opened = Opened(await call(protect(app), key_pair=key_pair), key_pair)
    assert opened.body == chunk("a")
    assert not opened.is_complete


async def test_raising_in_a_stream_ends_it_with_a_sealed_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        message = {"type": "http.response.body", "body": chunk("a"), "more_body": True}
        await send(message)
        raise RuntimeError(CANARY)

    key_pair = ClientKeyPair.generate()
    sent = await call(protect(app), key_pair=key_pair)
    opened = Opened(sent, key_pair)
    assert opened.is_complete
    error = json.loads(opened.payloads[1].removeprefix(b"data: "))["error"]
    assert error["code"] == 500
    assert opened.payloads[2] == DONE
    assert CANARY.encode() not in body_of(sent) + opened.body
    assert "RuntimeError" in caplog.text
    assert CANARY not in caplog.text


async def test_raising_before_the_start_seals_what_the_handler_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()

    @app.exception_handler(Exception)
    async def handler(request: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"error": {"message": str(error)}}, status_code=500)

    @app.post(CHAT)
    async def chat() -> None:
        raise RuntimeError(CANARY)

    key_pair = ClientKeyPair.generate()
    sent = await call(protect(app), key_pair=key_pair, app=app)
    assert sent[0]["status"] == 500
    opened = Opened(sent, key_pair)
    assert json.loads(opened.body) == {"error": {"message": CANARY}}
    assert opened.status == 500
    assert CANARY.encode() not in body_of(sent)
    assert CANARY not in caplog.text


async def test_an_error_status_is_sealed_like_an_answer() -> None:
    body = json.dumps(
        {"error": {"message": CANARY, "type": "BadRequestError", "code": 400}}
    ).encode()
    key_pair = ClientKeyPair.generate()
    app = answering(body, content_type="application/json", status=400)
    sent = await call(protect(app), key_pair=key_pair)
    assert sent[0]["status"] == 400
    outer = json.loads(body_of(sent))["error"]
    assert (outer["type"], outer["code"]) == ("BadRequestError", 400)
    assert outer["message"].startswith("sgop1.")
    assert Opened(sent, key_pair).body == body


async def test_headers_that_tell_of_the_plaintext_are_dropped() -> None:
    headers = [(b"etag", b"abc"), (b"content-length", b"2"), (b"x-words", b"1")]
    headers.append((b"retry-after", b"1"))
    app = answering(b"{}", content_type="application/json", headers=headers)
    sent = await call(protect(app), key_pair=ClientKeyPair.generate())
    assert header_of(sent, b"etag") == []
    assert header_of(sent, b"x-words") == []
    assert header_of(sent, b"retry-after") == [b"1"]
    assert header_of(sent, b"content-length") == [str(len(body_of(sent))).encode()]


async def test_a_status_without_body_travels_in_a_200() -> None:
    key_pair = ClientKeyPair.generate()
    sent = await call(protect(answering(status=204)), key_pair=key_pair)
    assert sent[0]["status"] == 200
    assert Opened(sent, key_pair).status == 204


async def test_a_body_that_is_no_json_is_carried_whole() -> None:
    key_pair = ClientKeyPair.generate()
    app = answering(b"plain " + CANARY.encode(), content_type="text/plain")
    sent = await call(protect(app), key_pair=key_pair)
    assert header_of(sent, b"content-type") == [b"application/vnd.sgop1"]
    opened = Opened(sent, key_pair)
    assert (opened.body, opened.content_type) == (
        b"plain " + CANARY.encode(),
        "text/plain",
    )


async def test_side_channels_of_asgi_carry_nothing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert set(scope["extensions"]) == {"tls"}
        await send({"type": "http.response.push", "path": f"/{CANARY}", "headers": []})
        await answering(b"{}", content_type="application/json")(scope, receive, send)
        await send({"type": "http.response.trailers", "headers": [(b"x", b"y")]})

    sent = await call(
        protect(app),
        key_pair=ClientKeyPair.generate(),
        extensions={"tls": {}, "http.response.pathsend": {}},
    )
    assert {message["type"] for message in sent} == {
        "http.response.start",
        "http.response.body",
    }


def mounted() -> FastAPI:
    """Return an application with a protected, a clear and an unknown route."""
    app = FastAPI()
    for path in (CHAT, "/health", "/v1/secret"):
        app.add_api_route(path, lambda: {"said": CANARY}, methods=["GET", "POST"])
    return app


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("POST", "/health", 403),
        ("POST", "/v1/secret", 403),
        ("GET", CHAT, 400),
        ("POST", CHAT, 400),
        ("GET", "/nowhere", 404),
        ("POST", "//v1/secret", 404),
        ("POST", "/V1/SECRET", 404),
    ],
)
async def test_routes_are_denied_by_default(
    method: str, path: str, status: int
) -> None:
    app = mounted()
    sent = await call(protect(app), method=method, path=path, app=app)
    assert sent[0]["status"] == status
    assert status == 200 or CANARY.encode() not in body_of(sent)


async def test_a_root_path_is_not_part_of_the_route() -> None:
    app = mounted()
    sent = await call(protect(app), path=f"/api{CHAT}", root_path="/api", app=app)
    assert json.loads(body_of(sent))["error"]["code"] == "client_key_missing"


async def test_a_websocket_is_refused_before_its_handshake() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/realtime", "headers": []}
    await protect(answering())(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_only_the_lifespan_passes_by_the_protection() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(message: Any = None) -> Any:
        raise AssertionError("something was received or sent")

    target = protect(app)
    await target({"type": "lifespan"}, nothing, nothing)
    for unknown in ("webtransport", "HTTP", ""):
        scope: Any = {"type": unknown, "method": "POST", "path": CHAT, "headers": []}
        with pytest.raises(RuntimeError, match="cannot be protected"):
            await target(scope, nothing, nothing)
    assert seen == ["lifespan"]


async def test_without_a_usable_key_the_answer_is_503() -> None:
    ring = own_ring(1000)
    with pytest.raises(KeysUnavailableError):
        ring.current(unix_ms())
    sent = await call(
        protect(answering(chunk("a")), ring), key_pair=ClientKeyPair.generate()
    )
    assert sent[0]["status"] == 503
    assert json.loads(body_of(sent))["error"]["code"] == "keys_unavailable"
    assert header_of(sent, b"x-should-retry") == []


async def test_a_late_rotation_is_made_up_for_when_an_answer_begins() -> None:
    ring = make_ring(period_ms=5)
    key_pair = ClientKeyPair.generate()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.03)
        await answering(chunk(CANARY), DONE)(scope, receive, send)

    before = ring.current(unix_ms())
    sent = await call(protect(slow, ring), key_pair=key_pair)
    assert Opened(sent, key_pair).body == chunk(CANARY) + DONE
    key = header_of(sent, b"x-server-public-key")[0].decode()
    assert key != before.public_key_base64


async def test_the_registry_forgets_the_key_when_the_response_ends() -> None:
    key_pair = ClientKeyPair.generate()
    during: list[bytes | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        during.extend(SHARED_REGISTRY.values())
        await answering(chunk("a"))(scope, receive, send)

    await call(protect(app), key_pair=key_pair)
    assert key_pair.public_key in during
    assert key_pair.public_key not in SHARED_REGISTRY.values()


async def test_one_key_pair_never_meets_the_same_key_and_nonce_twice() -> None:
    key_pair = ClientKeyPair.generate()
    app = protect(answering(chunk("a"), DONE))
    seen = set()
    for _ in range(1000):
        sent = await call(app, key_pair=key_pair)
        frame_text = body_of(sent).split(b"sgop1.")[1].split(b'"')[0]
        head = base64.b64decode(frame_text)[5:]
        seen.add(head[12:44])
    assert len(seen) == 1000


async def test_a_cancelled_response_gets_no_final_frame() -> None:
    sent: list[Any] = []
    key_pair = ClientKeyPair.generate()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        message = {"type": "http.response.body", "body": chunk("a"), "more_body": True}
        await send(message)
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": DONE})

    waiting = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"{}"}]

    async def receive() -> dict[str, Any]:
        return waiting.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-client-public-key", key_pair.header_value.encode())]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}
    await protect(app)(scope, receive, send)
    opened = Opened(sent, key_pair)
    assert opened.body == chunk("a")
    assert not opened.is_complete


async def test_a_disconnect_before_the_start_leaves_nothing_to_seal() -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"
        await answering(b"null", content_type="application/json")(scope, receive, send)

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-client-public-key", KEY)]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}
    await protect(app)(scope, receive, send)
    assert sent == []


@pytest.mark.parametrize("status", [200, 600])
async def test_failing_after_the_start_of_a_body_is_a_sealed_500(status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": start})
        raise RuntimeError(CANARY)

    key_pair = ClientKeyPair.generate()
    sent = await call(protect(app), key_pair=key_pair)
    assert sent[0]["status"] == 500
    assert Opened(sent, key_pair).status == 500


async def test_no_error_carries_another_s_words_out() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        raise RuntimeError(CANARY)

    async def receive() -> dict[str, str]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    headers = [(b"x-client-public-key", KEY)]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}
    with pytest.raises(OSError) as raised:
        await protect(app)(scope, receive, send)
    assert raised.value.__context__ is None


def test_a_key_ring_never_holds_a_third_key() -> None:
    ring = own_ring(1000)
    keys = []
    for now in (10_000, 11_000, 12_000):
        ring.tick(now)
        keys.append(ring.current(now))
    assert ring.by_id(keys[0].statement.key_id, 12_000) is None
    assert ring.by_id(keys[1].statement.key_id, 12_000) is keys[1]
    assert ring.current(12_000) is keys[2]
