"""The installed OpenAI SDK over a real connection: what its users see."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import openai
import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)
from tests.client.fake_server import (
    ANSWER,
    CLIENT_KEY,
    JSON,
    FakeServer,
    Sealing,
    Wire,
    chat_body,
    error_body,
)
from tests.client.test_tampering import compress

LIMIT_S = 60.0
ASK: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Where from?"}],
}


def choices_for(server: FakeServer, **kwargs: Any) -> dict[str, Any]:
    if server.profile == "sealed":
        kwargs.setdefault("identity", server.fingerprint)
    return {"profile": server.profile, **kwargs}


def sdk_for(server: FakeServer, **kwargs: Any) -> openai.OpenAI:
    client = protected_client(**choices_for(server, **kwargs))
    return openai.OpenAI(base_url=server.base_url, api_key="k", http_client=client)


def async_sdk_for(server: FakeServer, **kwargs: Any) -> openai.AsyncOpenAI:
    client = protected_async_client(**choices_for(server, **kwargs))
    return openai.AsyncOpenAI(base_url=server.base_url, api_key="k", http_client=client)


@pytest.fixture
def sdk(server: FakeServer) -> Iterator[openai.OpenAI]:
    with sdk_for(server, identity=server.fingerprint) as made:
        yield made


def text_of(events: Any) -> str:
    return "".join(event.choices[0].delta.content or "" for event in events)


def test_a_unary_answer(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(**ASK)
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3


def test_a_streamed_answer(sdk: openai.OpenAI) -> None:
    assert text_of(sdk.chat.completions.create(**ASK, stream=True)) == ANSWER


async def test_async_answers(server: FakeServer) -> None:
    async with async_sdk_for(server) as sdk:
        answer = await sdk.chat.completions.create(**ASK)
        assert answer.choices[0].message.content == ANSWER
        stream = await sdk.chat.completions.create(**ASK, stream=True)
        assert text_of([event async for event in stream]) == ANSWER


def test_an_answer_compressed_by_a_gateway(
    sdk: openai.OpenAI, server: FakeServer
) -> None:
    server.tamper = compress
    assert sdk.chat.completions.create(**ASK).choices[0].message.content == ANSWER
    assert text_of(sdk.chat.completions.create(**ASK, stream=True)) == ANSWER


def test_raw_responses(sdk: openai.OpenAI, server: FakeServer) -> None:
    raw = sdk.chat.completions.with_raw_response.create(**ASK)
    assert raw.content == chat_body()
    assert raw.headers["x-output-protection"] == "opened"
    verdict = raw.http_response.extensions["output_protection"]
    assert verdict.identity == server.fingerprint
    with sdk.chat.completions.with_streaming_response.create(**ASK) as response:
        assert response.read() == chat_body()


def test_the_list_of_models_is_clear(sdk: openai.OpenAI, server: FakeServer) -> None:
    assert [model.id for model in sdk.models.list()] == ["tiny"]
    assert server.received[0].values(CLIENT_KEY) == []


def test_a_sealed_error_is_the_sdks_own(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="`unknown` is secret") as caught:
        sdk.chat.completions.create(**{**ASK, "model": "unknown"})
    assert caught.value.response.headers["x-output-protection"] == "opened"


def test_an_unsealed_error_is_the_sdks_own_and_marked(
    sdk: openai.OpenAI, server: FakeServer
) -> None:
    server.tamper = lambda _: Wire(
        401, {"content-type": JSON}, [error_body("who?", 401)]
    )
    with pytest.raises(openai.AuthenticationError) as caught:
        sdk.chat.completions.create(**ASK)
    assert caught.value.response.headers["x-output-protection"] == "unauthenticated"


@pytest.mark.parametrize("stream", [False, True])
def test_our_errors_arrive_unchanged_and_unretried(
    stream: bool, sdk: openai.OpenAI, server: FakeServer
) -> None:
    server.tamper = lambda _: Wire(200, {"content-type": JSON}, [chat_body()])
    with pytest.raises(errors.UnprotectedResponseError):
        sdk.chat.completions.create(**ASK, stream=stream)
    assert len(server.attempts) == 1


def test_a_call_that_returns_nothing_raises_too(
    sdk: openai.OpenAI, server: FakeServer
) -> None:
    server.tamper = lambda _: Wire(200, {"content-type": JSON}, [chat_body()])
    with pytest.raises(errors.UnprotectedResponseError):
        sdk.responses.delete("resp_1")
    assert len(server.attempts) == 1


def test_a_cut_stream_raises_in_the_loop(
    sdk: openai.OpenAI, server: FakeServer
) -> None:
    server.tamper = lambda wire: replace(wire, parts=wire.parts[:3])
    stream = sdk.chat.completions.create(**ASK, stream=True)
    assert next(stream).choices[0].delta.content == "Grüße"
    with pytest.raises(errors.TruncatedError):
        list(stream)
    assert len(server.attempts) == 1


async def test_a_cut_stream_raises_in_the_async_loop(server: FakeServer) -> None:
    server.tamper = lambda wire: replace(wire, parts=wire.parts[:3])
    async with async_sdk_for(server) as sdk:
        stream = await sdk.chat.completions.create(**ASK, stream=True)
        with pytest.raises(errors.TruncatedError):
            async for _ in stream:
                pass


async def test_async_errors_arrive_unchanged_and_unretried(server: FakeServer) -> None:
    async with async_sdk_for(server, identity=Sealing().fingerprint) as sdk:
        with pytest.raises(errors.IdentityMismatchError):
            await sdk.chat.completions.create(**ASK)
    assert len(server.received) == 1


def test_retries_use_another_key(sdk: openai.OpenAI, server: FakeServer) -> None:
    unavailable = Wire(503, {"content-type": JSON, "retry-after-ms": "1"}, [b"{}"])
    server.tamper = lambda wire: unavailable if len(server.attempts) < 3 else wire
    assert sdk.chat.completions.create(**ASK).choices[0].message.content == ANSWER
    assert len({request.client_key for request in server.attempts}) == 3


def test_redirects_are_refused(sdk: openai.OpenAI, server: FakeServer) -> None:
    server.tamper = lambda wire: Wire(307, {"location": server.base_url}, [])
    with pytest.raises(errors.RedirectRefusedError):
        sdk.chat.completions.create(**ASK)
    assert len(server.attempts) == 1


def test_another_base_url_is_refused(sdk: openai.OpenAI, server: FakeServer) -> None:
    sdk.models.list()
    with pytest.raises(errors.UsageError):
        sdk.with_options(base_url="http://127.0.0.1:1/v1").models.list()


def test_closing_a_stream_early_closes_the_connection(
    sdk: openai.OpenAI, server: FakeServer
) -> None:
    server.pause_s = LIMIT_S
    with sdk.chat.completions.create(**ASK, stream=True) as stream:
        next(stream)
    assert server.disconnected.wait(timeout=LIMIT_S)


async def test_cancelling_a_stream_closes_the_connection(server: FakeServer) -> None:
    server.pause_s = LIMIT_S
    async with async_sdk_for(server) as sdk:
        stream = await sdk.chat.completions.create(**ASK, stream=True)

        async def read() -> None:
            async for _ in stream:
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.disconnected.wait, LIMIT_S)


async def test_cancelling_before_the_first_frame_closes_the_connection(
    server: FakeServer,
) -> None:
    server.pause_s = LIMIT_S
    server.tamper = lambda wire: replace(wire, parts=[b": ping\n\n", *wire.parts])
    async with async_sdk_for(server) as sdk:
        task = asyncio.create_task(sdk.chat.completions.create(**ASK, stream=True))
        async with asyncio.timeout(LIMIT_S):
            while not server.attempts:
                await asyncio.sleep(0.02)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.disconnected.wait, LIMIT_S)


def test_the_first_event_arrives_before_the_last_is_sent(
    sdk: openai.OpenAI, server: FakeServer
) -> None:
    server.pause_s = 2
    with sdk.chat.completions.create(**ASK, stream=True) as stream:
        next(stream)
        assert not server.ended.is_set()


def test_twenty_threads_share_a_client(sdk: openai.OpenAI, server: FakeServer) -> None:
    def ask(number: int) -> str:
        if number % 2:
            return text_of(sdk.chat.completions.create(**ASK, stream=True))
        return sdk.chat.completions.create(**ASK).choices[0].message.content or ""

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(ask, range(100))) == {ANSWER}
    assert len({request.client_key for request in server.attempts}) == 100
