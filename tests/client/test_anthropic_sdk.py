"""Anthropic's SDK over a real connection: its users see our errors, and see them once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import anthropic
import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)
from tests.apps.proxy.apis import api_answer, speaking
from tests.client.fake_server import (
    ANSWER,
    JSON,
    FakeServer,
    Received,
    Sealing,
    Wire,
    error_body,
    serve,
)
from tests.client.sealed_server import SealedServer
from tests.client.test_tampering import flip

PROFILES = ["sealed", "output"]
ASK: dict[str, Any] = {
    "model": "tiny",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Where from?"}],
}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server that speaks Anthropic's API, in both profiles."""
    with serve(speaking(SealedServer())) as running:
        yield running


def choices_for(server: FakeServer, profile: str, **changes: Any) -> dict[str, Any]:
    return {"identity": server.fingerprint, "profile": profile, **changes}


def ask_sync(way: str, server: FakeServer, choices: dict[str, Any]) -> str:
    with anthropic.Anthropic(
        base_url=server.base_url.removesuffix("/v1"),
        api_key="k",
        http_client=protected_client(**choices),
    ) as sdk:
        if way == "unary":
            return text_of(sdk.messages.create(**ASK))
        if way == "raw":
            return text_of(sdk.messages.with_raw_response.create(**ASK).parse())
        if way == "streaming response":
            with sdk.messages.with_streaming_response.create(**ASK) as response:
                return text_in(response.read())
        if way == "stream of events":
            return "".join(map(delta_of, sdk.messages.create(**ASK, stream=True)))
        with sdk.messages.stream(**ASK) as stream:
            return "".join(stream.text_stream)


async def ask_async(way: str, server: FakeServer, choices: dict[str, Any]) -> str:
    async with anthropic.AsyncAnthropic(
        base_url=server.base_url.removesuffix("/v1"),
        api_key="k",
        http_client=protected_async_client(**choices),
    ) as sdk:
        if way == "unary":
            return text_of(await sdk.messages.create(**ASK))
        if way == "raw":
            raw = await sdk.messages.with_raw_response.create(**ASK)
            return text_of(await raw.parse())
        if way == "streaming response":
            async with sdk.messages.with_streaming_response.create(**ASK) as response:
                return text_in(await response.read())
        if way == "stream of events":
            events = await sdk.messages.create(**ASK, stream=True)
            return "".join([delta_of(event) async for event in events])
        async with sdk.messages.stream(**ASK) as stream:
            return "".join([text async for text in stream.text_stream])


def text_of(message: Any) -> str:
    return str(message.content[0].text)


def text_in(body: bytes) -> str:
    return str(json.loads(body)["content"][0]["text"])


def delta_of(event: Any) -> str:
    is_text = event.type == "content_block_delta"
    return event.delta.text if is_text else ""


def ask(way: str, is_async: bool, server: FakeServer, choices: dict[str, Any]) -> str:
    if is_async:
        return asyncio.run(ask_async(way, server, choices))
    return ask_sync(way, server, choices)


def tampered(wire: Wire) -> Wire:
    """Flip a bit of every frame."""
    return replace(wire, parts=[flip(part, -1) for part in wire.parts])


def tampered_later(wire: Wire) -> Wire:
    """Flip a bit of every frame but the first."""
    return replace(wire, parts=[wire.parts[0], *tampered(wire).parts[1:]])


def cut(wire: Wire) -> Wire:
    """Leave the first events of a stream."""
    return replace(wire, parts=wire.parts[:3])


def make_plain(server: FakeServer) -> None:
    """Answer as vLLM does without protection: the client may get all it asks for."""

    def plain(_: Wire) -> Wire:
        asked = server.received[-1]
        stream = b'"stream":true' in asked.body.replace(b" ", b"")
        call = Received(
            "POST", "/v1/messages", [], b'{"stream":true}' if stream else b"{}"
        )
        return api_answer(call)

    server.tamper = plain
    server.tamper_document = lambda _: Wire(
        404, {"content-type": JSON}, [error_body("Not Found", 404)]
    )


UNARY = ["unary", "raw", "streaming response"]
STREAMED = ["stream of events", "stream"]
both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
in_each_profile = pytest.mark.parametrize("profile", PROFILES)


@both
@in_each_profile
@pytest.mark.parametrize("way", UNARY + STREAMED)
def test_an_answer(way: str, profile: str, is_async: bool, server: FakeServer) -> None:
    assert ask(way, is_async, server, choices_for(server, profile)) == ANSWER
    assert len(server.attempts) == 1


FAULTS: list[tuple[str, Callable[[Wire], Wire], list[str], type[Exception]]] = [
    ("tampered", tampered, UNARY + STREAMED, errors.DecryptionError),
    ("tampered later", tampered_later, STREAMED, errors.DecryptionError),
    ("cut", cut, STREAMED, errors.TruncatedError),
]


@both
@in_each_profile
@pytest.mark.parametrize(
    ("way", "fault", "error"),
    [
        pytest.param(way, fault, error, id=f"{name}-{way}")
        for name, fault, ways, error in FAULTS
        for way in ways
    ],
)
def test_what_the_way_does_to_an_answer_is_a_named_error_seen_once(
    way: str,
    fault: Callable[[Wire], Wire],
    error: type[Exception],
    profile: str,
    is_async: bool,
    server: FakeServer,
) -> None:
    server.tamper = fault
    with pytest.raises(error) as caught:
        ask(way, is_async, server, choices_for(server, profile))
    assert type(caught.value) is error
    assert len(server.attempts) == 1


@both
@in_each_profile
@pytest.mark.parametrize("way", UNARY + STREAMED)
def test_another_identity_is_a_named_error_seen_once(
    way: str, profile: str, is_async: bool, server: FakeServer
) -> None:
    choices = choices_for(server, profile, identity=Sealing().fingerprint)
    with pytest.raises(errors.IdentityMismatchError):
        ask(way, is_async, server, choices)
    assert len(server.received) == 1


@both
@in_each_profile
@pytest.mark.parametrize("way", UNARY + STREAMED)
def test_vllm_without_protection_is_a_named_error_seen_once(
    way: str, profile: str, is_async: bool, server: FakeServer
) -> None:
    make_plain(server)
    with pytest.raises(errors.UnprotectedResponseError):
        ask(way, is_async, server, choices_for(server, profile))
    assert len(server.attempts) <= 1


@both
def test_a_sealed_error_is_the_sdks_own(is_async: bool, server: SealedServer) -> None:
    server.app.answer = lambda call: Wire(
        400, {"content-type": JSON}, [error_body("Too many words.")]
    )
    with pytest.raises(anthropic.BadRequestError, match="Too many words") as caught:
        ask("unary", is_async, server, choices_for(server, "sealed"))
    assert caught.value.response.headers["x-output-protection"] == "opened"
