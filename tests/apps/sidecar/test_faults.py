"""An engine that is down, slow, dies or says nonsense: a sealed error, and on it goes."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from typing import Any

import openai
import pytest

from stainedglass_output_protection.apps.forwarding import Limits
from tests.apps.proxy.running import unused_port
from tests.apps.sidecar.engines import (
    FIRST_EVENT,
    JSON_HEAD,
    STREAM_HEAD,
    Asked,
    Engine,
    Serve,
    answering,
    begin_stream,
    chunk,
    events,
    reset,
    running,
    saying,
)
from tests.apps.sidecar.sidecars import beside, client_of, posted, sdk_of
from tests.asgi.applications import ASK, CANARY, CHAT, PIECES, Identity, answer

STREAM = {**ASK, "stream": True}
SHORT = Limits(silence_s=0.1)
_HALF = b'{"choices":"' + CANARY.encode()
_ZIPPED = gzip.compress(_HALF)

# What the engine does, and what a client is told before an answer has begun.
BEFORE: dict[str, tuple[Serve, int, str]] = {
    "closes": (saying(b""), 502, "engine_answer_malformed"),
    "garbage": (saying(b"\x16\x03\x01" + _HALF), 502, "engine_answer_malformed"),
    "half a head": (saying(JSON_HEAD), 502, "engine_answer_malformed"),
    "a status of none": (
        saying(b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n"),
        502,
        "engine_answer_malformed",
    ),
    "silence": (saying(b"", closes=False), 504, "engine_timeout"),
    "half a body": (
        saying(JSON_HEAD + b"content-length: 999\r\n\r\n" + _HALF),
        502,
        "engine_answer_malformed",
    ),
    "half a body, then silence": (
        saying(JSON_HEAD + b"content-length: 999\r\n\r\n" + _HALF, closes=False),
        504,
        "engine_timeout",
    ),
    "most of a body in pieces": (
        saying(
            JSON_HEAD
            + b"transfer-encoding: chunked\r\n\r\n"
            + chunk(_HALF)
            + chunk(b'"}')
        ),
        502,
        "engine_broke_off",
    ),
    "a body that is compressed": (
        saying(
            JSON_HEAD
            + f"content-encoding: gzip\r\ncontent-length: {len(_ZIPPED)}\r\n\r\n".encode()
            + _ZIPPED
        ),
        502,
        "engine_broke_off",
    ),
}
# How a stream ends that should have gone on.
IN_THE_MIDDLE: dict[str, Serve] = {
    "closes": saying(STREAM_HEAD + chunk(FIRST_EVENT)),
    "resets": reset(STREAM_HEAD + chunk(FIRST_EVENT) + b"400\r\ndata: "),
    "silence": saying(STREAM_HEAD + chunk(FIRST_EVENT), closes=False),
    "garbage": saying(STREAM_HEAD + chunk(FIRST_EVENT) + b"no length\r\n"),
    "half an event": saying(STREAM_HEAD + chunk(FIRST_EVENT) + chunk(FIRST_EVENT[:9])),
}
STREAMED = pytest.mark.parametrize("body", [ASK, STREAM], ids=["unary", "stream"])


def error_of(told: Any) -> dict[str, Any]:
    """Return the error of an answer, which must be sealed, in OpenAI's shape."""
    assert told.headers["x-output-protection"] == "opened"
    error: dict[str, Any] = told.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def limits_for(fault: str) -> Limits:
    """Return short limits for an engine that says nothing, and none that any other meets."""
    return SHORT if "silence" in fault else Limits()


def asked_again(url: str, identity: Identity, **choices: Any) -> Any:
    """Ask an engine that is well again; where limits are short, until it is in time."""
    end = time.monotonic() + 60
    while True:
        told = posted(url, identity, ASK, **choices)
        if told.status_code != 504 or time.monotonic() > end:
            return told


def read_into(read: list[str | None], stream: Any) -> None:
    """Keep each piece as it comes."""
    for it in stream:
        read.append(it.choices[0].delta.content)


@STREAMED
@pytest.mark.parametrize("profile", ["sealed", "output"])
@pytest.mark.parametrize("fault", BEFORE)
def test_a_fault_before_an_answer_is_a_sealed_error(
    identity: Identity, fault: str, profile: str, body: Any
) -> None:
    serve, status, code = BEFORE[fault]
    with (
        running(Engine(serve)) as engine,
        beside(engine.address, limits=limits_for(fault)) as sidecar,
    ):
        told = posted(sidecar.url, identity, body, profile=profile)
        engine.serve = answering()
        again = asked_again(sidecar.url, identity, profile=profile)

    assert (told.status_code, error_of(told)["code"]) == (status, code)
    assert again.json() == answer()
    assert CANARY.encode() not in sidecar.wire


@STREAMED
def test_an_engine_that_is_down_and_comes_up(identity: Identity, body: Any) -> None:
    engine = Engine(answering(), port=unused_port())
    with beside(engine.address) as sidecar:
        told = posted(sidecar.url, identity, body)
        with running(engine):
            again = posted(sidecar.url, identity, ASK)

    assert (told.status_code, error_of(told)["code"]) == (502, "engine_unreachable")
    assert again.json() == answer()


@pytest.mark.parametrize("opaque", [False, True], ids=["fields", "opaque"])
@pytest.mark.parametrize("profile", ["sealed", "output"])
@pytest.mark.parametrize("fault", IN_THE_MIDDLE)
def test_a_fault_in_a_stream_is_a_sealed_error_at_its_end(
    identity: Identity, fault: str, profile: str, opaque: bool
) -> None:
    read: list[str | None] = []
    with (
        running(Engine(IN_THE_MIDDLE[fault])) as engine,
        beside(engine.address, limits=limits_for(fault)) as sidecar,
        sdk_of(sidecar.url, identity, profile=profile, opaque=opaque) as sdk,
    ):
        stream = sdk.chat.completions.create(**STREAM)
        with pytest.raises(openai.APIError, match="failed while it was answering"):
            read_into(read, stream)
        engine.serve = answering()
        again = asked_again(sidecar.url, identity, profile=profile, opaque=opaque)

    assert read == [CANARY]
    assert again.json() == answer()
    assert CANARY.encode() not in sidecar.wire


def test_an_engine_that_closes_idle_connections_loses_no_request(
    identity: Identity,
) -> None:
    used: set[Any] = set()
    whole = answering()

    async def serve(asked: Asked, writer: Any) -> None:
        # It closes while the second request is on its way.
        if writer in used:
            writer.transport.abort()
        else:
            used.add(writer)
            await whole(asked, writer)

    with running(Engine(serve)) as engine, beside(engine.address) as sidecar:
        told = [posted(sidecar.url, identity, ASK) for _ in range(3)]

    assert [it.json() for it in told] == [answer()] * 3


def test_a_slow_engine_is_passed_on_event_by_event(identity: Identity) -> None:
    may_go_on = threading.Semaphore(0)

    async def serve(asked: Asked, writer: Any) -> None:
        begin_stream(writer)
        *pieces, end = events()
        for it in pieces:
            writer.write(chunk(it))
            await writer.drain()
            # The next one no sooner than this one has been read.
            await asyncio.to_thread(may_go_on.acquire, timeout=60)
        writer.write(chunk(end) + chunk(b""))

    read = []
    with (
        running(Engine(serve)) as engine,
        beside(engine.address) as sidecar,
        sdk_of(sidecar.url, identity) as sdk,
    ):
        for it in sdk.chat.completions.create(**STREAM):
            read.append(it.choices[0].delta.content)
            may_go_on.release()

    assert read == PIECES


def test_who_leaves_stops_the_engine(identity: Identity) -> None:
    serve = saying(STREAM_HEAD + chunk(FIRST_EVENT), closes=False)
    with (
        running(Engine(serve)) as engine,
        beside(engine.address) as sidecar,
        client_of(identity) as client,
    ):
        with client.stream("POST", sidecar.url + CHAT, json=STREAM) as told:
            pieces = told.iter_raw()
            assert next(pieces)
            assert not engine.left.is_set()
        # The sidecar closes its connection to the engine, which waits for nothing else.
        assert engine.left.wait(60)


def test_errors_of_anthropic_s_api_have_its_shape(identity: Identity) -> None:
    with (
        beside(f"http://127.0.0.1:{unused_port()}") as sidecar,
        client_of(identity) as client,
    ):
        told = client.post(f"{sidecar.url}/v1/messages", json=ASK)

    assert told.json()["type"] == "error"
    assert told.json()["error"]["type"] == "api_error"


def test_a_request_that_is_too_large(identity: Identity) -> None:
    limits = Limits(request_bytes=100)
    with running(Engine(answering())) as engine:
        with beside(engine.address, limits=limits) as sidecar:
            told = posted(sidecar.url, identity, {**ASK, "more": "x" * 100})

    # Nothing of it was read, so there is no key to seal this to.
    assert (told.status_code, told.json()["error"]["code"]) == (
        413,
        "request_too_large",
    )
    assert not [it for it in engine.asked if it.method == "POST"]


@pytest.mark.parametrize("fault", [*BEFORE, *IN_THE_MIDDLE])
def test_no_log_has_a_word_of_an_answer(
    identity: Identity, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    serve = IN_THE_MIDDLE[fault] if fault in IN_THE_MIDDLE else BEFORE[fault][0]
    with (
        running(Engine(serve)) as engine,
        beside(engine.address, limits=limits_for(fault)) as sidecar,
    ):
        posted(sidecar.url, identity, STREAM)

    assert CANARY not in caplog.text
    assert "What is played?" not in caplog.text
    assert "/v1/chat/completions: " in caplog.text
