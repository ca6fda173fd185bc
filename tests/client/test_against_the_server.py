"""The SDK with our client, against an application behind our own middleware."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)
from stainedglass_output_protection.server.key_ring import KeyRing
from tests.asgi_driver import make_ring, protect
from tests.client.fake_server import (
    ANSWER,
    CLIENT_KEY,
    DONE,
    EVENTS,
    JSON,
    FakeServer,
    Received,
    Wire,
    chat_body,
    error_body,
    plain_events,
    serve,
)

CHOICES: list[dict[str, Any]] = [
    {"profile": "output"},
    {"profile": "output", "opaque": True},
    {"profile": "sealed"},
    {"profile": "sealed", "opaque": True},
    {"profile": "sealed", "suite": "x25519"},
]
ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "?"}]}


class PlainApplication(FakeServer):
    """What a server without protection sends."""

    def _honest(self, request: Received) -> Wire:
        if request.asked.get("model") == "unknown":
            return Wire(400, {"content-type": JSON}, [error_body("unknown, alas")])
        if request.asked.get("stream"):
            return Wire(200, {"content-type": EVENTS}, [*plain_events(), DONE])
        return Wire(200, {"content-type": JSON}, [chat_body()])


class Protected(PlainApplication):
    """The same behind the middleware."""

    def __init__(self, ring: KeyRing) -> None:
        super().__init__()
        self._protected = protect(super().__call__, ring)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._protected(scope, receive, send)


@contextlib.contextmanager
def plain_and_protected(ring: KeyRing) -> Iterator[tuple[str, str]]:
    with serve(PlainApplication()) as plain, serve(Protected(ring)) as protected:
        yield plain.base_url, protected.base_url


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_the_protected_answers_are_the_plain_ones_byte_for_byte(
    choices: dict[str, Any],
) -> None:
    ring = make_ring()
    with plain_and_protected(ring) as base_urls:
        seen = []
        identity = ring.identity.fingerprint
        protected = protected_client(identity=identity, **choices)
        clients = (openai.DefaultHttpxClient(), protected)
        for base_url, client in zip(base_urls, clients, strict=True):
            with openai.OpenAI(
                base_url=base_url, api_key="k", http_client=client, max_retries=0
            ) as sdk:
                raw = sdk.chat.completions.with_raw_response
                unary = raw.create(**ASK)
                streamed = sdk.chat.completions.with_streaming_response
                with streamed.create(**ASK, stream=True) as response:
                    events = response.read()
                with pytest.raises(openai.BadRequestError) as refused:
                    raw.create(**{**ASK, "model": "unknown"})
                error = refused.value
                seen.append(
                    (
                        unary.content,
                        unary.headers["content-type"],
                        events,
                        response.headers["content-type"],
                        error.message,
                        error.response.content,
                    )
                )
        assert seen[0] == seen[1]


@pytest.mark.parametrize("choices", CHOICES, ids=str)
async def test_async_answers_of_the_real_server(choices: dict[str, Any]) -> None:
    ring = make_ring()
    with serve(Protected(ring)) as server:
        identity = ring.identity.fingerprint
        client = protected_async_client(identity=identity, **choices)
        async with openai.AsyncOpenAI(
            base_url=server.base_url, api_key="k", http_client=client
        ) as sdk:
            answer = await sdk.chat.completions.create(**ASK)
            assert answer.choices[0].message.content == ANSWER
            stream = await sdk.chat.completions.create(**ASK, stream=True)
            deltas = [event.choices[0].delta.content async for event in stream]
    assert "".join(text or "" for text in deltas) == ANSWER
    keys = [request.values(CLIENT_KEY) for request in server.received]
    if choices["profile"] == "output":
        assert keys[0] != keys[1]
    else:
        assert keys == [[], []]
        assert "cache_salt" in server.received[0].asked
