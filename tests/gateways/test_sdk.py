"""The stock OpenAI SDK behind gateways: its own answers, or our named error, unchanged."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)
from tests.client.fake_server import ANSWER
from tests.gateways.hints import says_what_to_do
from tests.gateways.simulator import Gateway
from tests.gateways.test_routers import SYSTEMS
from tests.gateways.upstream import Upstream

HELLO: list[Any] = [{"role": "user", "content": "Hello?"}]
REFUSED = {
    "truncates_with_done": errors.TruncatedError,
    "drops_events": errors.SequenceError,
    "flips_bits": errors.DecryptionError,
    "injects_error_event": errors.TruncatedError,
    "invents_answer": errors.UnprotectedResponseError,
    "answers_with_a_page": errors.UnprotectedResponseError,
    "redirects": errors.RedirectRefusedError,
    "goes_to_another_server": errors.IdentityMismatchError,
}


def sdk(upstream: Upstream, gateway: Gateway, profile: str) -> openai.OpenAI:
    """Return the SDK with a protected client for the gateway's address."""
    return openai.OpenAI(
        base_url=gateway.base_url,
        api_key="none",
        http_client=protected_client(identity=upstream.fingerprint, profile=profile),
    )


def read_into(words: list[str], client: openai.OpenAI) -> None:
    """Read a stream as programs do."""
    stream = client.chat.completions.create(model="tiny", messages=HELLO, stream=True)
    for chunk in stream:
        words.append(chunk.choices[0].delta.content or "")


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_sdk_sees_no_gateway(
    system: str, profile: str, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use(*SYSTEMS[system])
    with sdk(upstream, gateway, profile) as client:
        answer = client.chat.completions.create(model="tiny", messages=HELLO)
        assert answer.choices[0].message.content == ANSWER
        assert answer.model == "tiny"
        words: list[str] = []
        read_into(words, client)
    assert "".join(words) == ANSWER


@pytest.mark.parametrize("system", SYSTEMS)
async def test_the_async_sdk_sees_no_gateway(
    system: str, profile: str, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use(*SYSTEMS[system])
    http_client = protected_async_client(identity=upstream.fingerprint, profile=profile)
    async with openai.AsyncOpenAI(
        base_url=gateway.base_url, api_key="none", http_client=http_client
    ) as client:
        stream = await client.chat.completions.create(
            model="tiny", messages=HELLO, stream=True
        )
        words = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(words) == ANSWER


@pytest.mark.parametrize("fault", REFUSED)
def test_the_sdk_raises_our_error_and_asks_once(
    fault: str, profile: str, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use(fault)
    words: list[str] = []
    with sdk(upstream, gateway, profile) as client:
        with pytest.raises(REFUSED[fault]) as caught:
            read_into(words, client)
    assert type(caught.value) is REFUSED[fault]
    assert says_what_to_do(caught.value)
    assert ANSWER.startswith("".join(words))
    asked = [it for it in gateway.received if not it.is_for_document]
    assert len(asked) <= 1


def test_a_pages_status_is_the_sdks_own_error(
    profile: str, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use("is_unavailable")
    with sdk(upstream, gateway, profile) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.with_options(max_retries=0).chat.completions.create(
                model="tiny", messages=HELLO
            )
    assert caught.value.response.headers["x-output-protection"] == "unauthenticated"


def test_an_answer_that_breaks_off_is_the_sdks_own_error_and_asked_again(
    profile: str, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use("cuts_connection")
    with sdk(upstream, gateway, profile) as client:
        with pytest.raises(openai.APIConnectionError):
            client.with_options(max_retries=1).chat.completions.create(
                model="tiny", messages=HELLO
            )
    assert len(upstream.app.calls) == 2
