"""Programs that know nothing of the protection, through the proxy."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.apps.proxy.apis import ASKED, CHAT, PATHS, expected_body, speaking
from tests.apps.proxy.running import Running
from tests.client.fake_server import ANSWER
from tests.client.sealed_cases import is_seen
from tests.client.sealed_server import SealedServer

MESSAGES: list[Any] = [{"role": "user", "content": "quixotic-vermilion"}]
CREATE: dict[str, Any] = {"model": "tiny", "messages": MESSAGES}


@pytest.fixture(autouse=True)
def _server(server: SealedServer) -> SealedServer:
    return speaking(server)


@pytest.fixture
def client(proxy: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=proxy.v1, api_key="of-the-program") as made:
        yield made


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("path", PATHS)
def test_a_program_gets_what_an_unprotected_server_sends(
    proxy: Running, path: str, stream: bool
) -> None:
    answer = httpx.post(f"{proxy.url}{path}", json={**ASKED, "stream": stream})

    assert answer.status_code == 200
    assert answer.content == expected_body(path, stream=stream)
    assert answer.headers["x-output-protection"] == "opened"


def test_the_openai_sdk_asks_and_streams(
    client: openai.OpenAI, server: SealedServer
) -> None:
    answer = client.chat.completions.create(**CREATE)
    events = list(client.chat.completions.create(**CREATE, stream=True))

    assert answer.choices[0].message.content == ANSWER
    assert "".join(event.choices[0].delta.content or "" for event in events) == ANSWER
    assert not is_seen(server, "quixotic-vermilion", ANSWER)


async def test_the_async_openai_sdk_asks_and_streams(proxy: Running) -> None:
    async with openai.AsyncOpenAI(base_url=proxy.v1, api_key="none") as client:
        answer = await client.chat.completions.create(**CREATE)
        stream = await client.chat.completions.create(**CREATE, stream=True)
        text = "".join([it.choices[0].delta.content or "" async for it in stream])

    assert answer.choices[0].message.content == ANSWER == text


def test_the_openai_sdk_lists_models_and_shows_the_mark(client: openai.OpenAI) -> None:
    answer = client.models.with_raw_response.list()

    assert [model.id for model in answer.parse()] == ["tiny"]
    assert answer.headers["x-output-protection"] == "clear"


def test_the_openai_sdk_streams_responses(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="tiny", input="Hi", stream=True))

    assert events[-1].type == "response.completed"


def test_an_error_of_the_server_is_the_sdks_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="`unknown` is secret") as caught:
        client.chat.completions.create(**{**CREATE, "model": "unknown"})

    assert caught.value.response.headers["x-output-protection"] == "opened"


def test_the_anthropic_sdk_asks_and_streams(proxy: Running) -> None:
    asked = {**CREATE, "max_tokens": 9}
    with anthropic.Anthropic(base_url=proxy.url, api_key="none") as client:
        answer: Any = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            text = "".join(stream.text_stream)

    assert answer.content[0].text == ANSWER == text


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_curl(proxy: Running, stream: bool) -> None:
    body = json.dumps({**ASKED, "stream": stream})
    # A body of this size makes curl ask with Expect: 100-continue first.
    body = body[:-1] + f', "user": "{"x" * 1_100_000}"' + "}"
    done = subprocess.run(
        [
            *("curl", "-sSN", "--fail-with-body", f"{proxy.url}{CHAT}"),
            *("-H", "content-type: application/json", "--data-binary", "@-"),
        ],
        input=body.encode(),
        capture_output=True,
        check=True,
        timeout=120,
    )

    assert done.stdout == expected_body(CHAT, stream=stream)


def test_the_api_key_of_the_program_goes_to_the_server(
    client: openai.OpenAI, server: SealedServer
) -> None:
    client.chat.completions.create(**CREATE)

    (attempt,) = server.attempts
    assert attempt.values("authorization") == ["Bearer of-the-program"]
