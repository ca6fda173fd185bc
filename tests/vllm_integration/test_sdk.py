"""The OpenAI SDK, unchanged but for its HTTP client, against real vLLM."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)
from tests.tiny_dialogues import BY_NAME, DIALOGUES, Dialogue
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.servers import MODEL, Server

pytestmark = pytest.mark.vllm

_FINISHED = {True: "tool_calls", False: "stop"}


@pytest.fixture(scope="module", params=["sealed", "output"])
def profile(request: pytest.FixtureRequest) -> str:
    """Each test runs in both; sealed is what a caller gets who does not choose."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def client(
    main_server: Server, identity: Identity, profile: str
) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{main_server.url}/v1",
        api_key="none",
        http_client=protected_client(
            identity=identity.fingerprint, **_choice_of(profile)
        ),
    ) as made:
        yield made


@pytest.fixture
async def async_client(
    main_server: Server, identity: Identity, profile: str
) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{main_server.url}/v1",
        api_key="none",
        http_client=protected_async_client(
            identity=identity.fingerprint, **_choice_of(profile)
        ),
    ) as made:
        yield made


def _choice_of(profile: str) -> dict[str, Any]:
    return {} if profile == "sealed" else {"profile": profile}


@dataclass
class Said:
    """What the SDK gave its caller, whole."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[list[str]] = field(default_factory=list)
    finish_reason: str | None = None

    def add(self, part: Any) -> None:
        """Add a message, or one delta of it."""
        self.content += part.content or ""
        self.reasoning += getattr(part, "reasoning", None) or ""
        for number, call in enumerate(part.tool_calls or ()):
            at = getattr(call, "index", number)
            while len(self.tool_calls) <= at:
                self.tool_calls.append(["", ""])
            self.tool_calls[at][0] += call.function.name or ""
            self.tool_calls[at][1] += call.function.arguments or ""

    def check(self, dialogue: Dialogue) -> None:
        """Assert that it is what the model was taught."""
        assert self.content == (dialogue.content or "")
        assert self.reasoning == (dialogue.reasoning or "")
        assert [tuple(call) for call in self.tool_calls] == list(dialogue.tool_calls)
        assert self.finish_reason == _FINISHED[bool(dialogue.tool_calls)]


def ask(client: openai.OpenAI, dialogue: Dialogue, **members: Any) -> Any:
    """Send the dialogue's request through the SDK."""
    path, body = dialogue.request(MODEL, **members)
    endpoint: Any = (
        client.chat.completions if path.endswith("/chat/completions") else None
    )
    return (endpoint or client.completions).create(**body)


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda item: item.name)
def test_unary_answer_is_what_the_model_says(
    client: openai.OpenAI, dialogue: Dialogue
) -> None:
    choice = ask(client, dialogue).choices[0]

    said = Said(finish_reason=choice.finish_reason)
    if dialogue.prompt is not None:
        said.content = choice.text
    else:
        said.add(choice.message)
    said.check(dialogue)


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda item: item.name)
def test_streamed_answer_is_what_the_model_says(
    client: openai.OpenAI, dialogue: Dialogue
) -> None:
    said = Said()

    for event in ask(client, dialogue, stream=True):
        for choice in event.choices:
            if dialogue.prompt is not None:
                said.content += choice.text
            else:
                said.add(choice.delta)
            said.finish_reason = choice.finish_reason or said.finish_reason

    said.check(dialogue)


async def test_async_client_streams(async_client: openai.AsyncOpenAI) -> None:
    said = Said()

    _, body = BY_NAME["reasoning"].request(MODEL)
    async for event in await async_client.chat.completions.create(**body, stream=True):
        said.add(event.choices[0].delta)
        said.finish_reason = event.choices[0].finish_reason or said.finish_reason

    said.check(BY_NAME["reasoning"])


async def test_async_client_answers(async_client: openai.AsyncOpenAI) -> None:
    _, body = BY_NAME["canary"].request(MODEL)
    answer = await async_client.chat.completions.create(**body)

    assert answer.choices[0].message.content == BY_NAME["canary"].content
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_stream_helper_accumulates(client: openai.OpenAI) -> None:
    _, body = BY_NAME["tool_call"].request(MODEL)

    with client.chat.completions.stream(**body) as stream:
        final = stream.get_final_completion()

    call = final.choices[0].message.tool_calls[0]  # type: ignore[index]
    assert (call.function.name, call.function.arguments) == (
        BY_NAME["tool_call"].tool_calls[0]
    )


def test_api_errors_are_the_sdks_own(client: openai.OpenAI) -> None:
    _, body = BY_NAME["canary"].request(MODEL)

    with pytest.raises(openai.NotFoundError, match="The model `other` does not exist"):
        client.chat.completions.create(**{**body, "model": "other"})
    with pytest.raises(openai.BadRequestError, match="temperature must be"):
        client.chat.completions.create(**{**body, "temperature": -1})
    with pytest.raises(openai.BadRequestError, match="temperature must be"):
        client.chat.completions.create(**{**body, "temperature": -1}, stream=True)
    with pytest.raises(openai.APIError, match="Grammar error"):
        list(
            client.chat.completions.create(
                **body, stream=True, extra_body={"structured_outputs": {"regex": "(["}}
            )
        )


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


def test_responses_api_says_what_chat_says(client: openai.OpenAI) -> None:
    asked = {"model": MODEL, "input": "Tell me the secret sentence.", "temperature": 0}
    expected = BY_NAME["canary"].content

    response = client.responses.create(**asked, store=False)  # type: ignore[call-overload]
    events = list(client.responses.create(**asked, store=False, stream=True))  # type: ignore[call-overload]

    assert response.output_text == expected
    deltas = [item.delta for item in events if item.type.endswith("output_text.delta")]
    assert "".join(deltas) == expected
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == expected


def test_opaque_client_says_the_same(
    main_server: Server, identity: Identity, profile: str
) -> None:
    dialogue = BY_NAME["canary"]
    http_client = protected_client(
        identity=identity.fingerprint, opaque=True, **_choice_of(profile)
    )
    with openai.OpenAI(
        base_url=f"{main_server.url}/v1", api_key="none", http_client=http_client
    ) as client:
        for stream in (False, True):
            _, body = dialogue.request(MODEL, stream=stream)
            answer = client.chat.completions.create(**body)  # type: ignore[call-overload]
            said = Said()
            if stream:
                for chunk in answer:
                    for choice in chunk.choices:
                        said.add(choice.delta)
            else:
                said.add(answer.choices[0].message)
            assert said.content == dialogue.content


def test_background_response_is_a_permission_error_unless_sealed(
    client: openai.OpenAI, profile: str
) -> None:
    if profile == "sealed":  # It has an owner; whether there is a store vLLM says.
        with pytest.raises(openai.BadRequestError, match="background"):
            client.responses.create(
                model=MODEL, input="Hello.", background=True, store=True
            )
        return
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.responses.create(model=MODEL, input="Hello.", background=True)

    assert caught.value.code == "stored_response_refused"


def test_unprotected_client_gets_a_named_error(main_server: Server) -> None:
    _, body = BY_NAME["canary"].request(MODEL)
    with openai.OpenAI(base_url=f"{main_server.url}/v1", api_key="none") as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**body)

    assert caught.value.code == "client_key_missing"
