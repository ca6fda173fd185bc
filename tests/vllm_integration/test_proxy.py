"""Programs that know nothing of the protection, through the proxy, against real vLLM."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from stainedglass_output_protection.client.protection import Protection
from tests.apps.proxy import node_openai
from tests.apps.proxy.running import Running, proxied
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.servers import MODEL, Server

pytestmark = pytest.mark.vllm

CANARY = BY_NAME["canary"]


@pytest.fixture(scope="module")
def proxy(main_server: Server, identity: Identity) -> Iterator[Running]:
    with proxied(main_server.url, Protection.load(identity.fingerprint)) as running:
        yield running


@pytest.fixture(scope="module")
def client(proxy: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=proxy.v1, api_key="none") as made:
        yield made


def test_openai_asks_streams_and_lists(client: openai.OpenAI) -> None:
    _, body = CANARY.request(MODEL)

    answer: Any = client.chat.completions.create(**body)
    events = list(client.chat.completions.create(**body, stream=True))

    assert answer.choices[0].message.content == CANARY.content
    said = [event.choices[0].delta.content or "" for event in events]
    assert "".join(said) == CANARY.content
    assert len(events) > 2
    assert [model.id for model in client.models.list()] == [MODEL]


def test_openai_calls_tools(client: openai.OpenAI) -> None:
    _, body = BY_NAME["tool_call"].request(MODEL)

    with client.chat.completions.stream(**body) as stream:
        final = stream.get_final_completion()

    call: Any = final.choices[0].message.tool_calls[0]  # type: ignore[index]
    assert (call.function.name, call.function.arguments) == (
        BY_NAME["tool_call"].tool_calls[0]
    )


def test_openais_responses(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "input": "Tell me the secret sentence."}
    events = list(client.responses.create(**asked, temperature=0, stream=True))

    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == CANARY.content


def test_anthropic_streams(proxy: Running) -> None:
    _, body = CANARY.request(MODEL)
    # Which this SDK does not take by name.
    body["extra_body"] = {"temperature": body.pop("temperature")}
    with anthropic.Anthropic(base_url=proxy.url, api_key="none") as asking:
        with asking.messages.stream(**body) as stream:
            text = "".join(stream.text_stream)

    assert text == CANARY.content


def test_an_error_of_vllms_is_passed_on(client: openai.OpenAI) -> None:
    _, body = CANARY.request(MODEL)

    with pytest.raises(openai.NotFoundError, match="The model `other` does not exist"):
        client.chat.completions.create(**{**body, "model": "other"})


def test_curl(proxy: Running) -> None:
    path, body = CANARY.request(MODEL, stream=True)
    done = subprocess.run(
        [
            *("curl", "-sSN", "--fail-with-body", f"{proxy.url}{path}"),
            *("-H", "content-type: application/json", "-d", json.dumps(body)),
        ],
        capture_output=True,
        check=True,
        timeout=120,
    )

    events = [it.removeprefix(b"data: ") for it in done.stdout.split(b"\n\n") if it]
    assert events[-1] == b"[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    assert "".join(it.get("content") or "" for it in deltas) == CANARY.content


def test_nodes_openai(proxy: Running) -> None:
    prompt = CANARY.messages[-1]["content"]
    assert len(CANARY.messages) == 1

    told = node_openai.ask(proxy.v1, MODEL, prompt)

    assert told == {
        "unary": CANARY.content,
        "streamed": CANARY.content,
        "error": None,
    }


def test_a_program_that_leaves_ends_the_generation(
    proxy: Running, main_server: Server
) -> None:
    path, body = CANARY.request(MODEL, stream=True)
    headers = {"x-test-id": "left the proxy"}
    asked = {**body, "max_tokens": 8000, "ignore_eos": True}
    with httpx.stream(
        "POST", f"{proxy.url}{path}", json=asked, headers=headers, timeout=120
    ) as answer:
        next(answer.iter_raw())

    emitted = main_server.emitted("left the proxy", wait_s=60)

    assert b"[DONE]" not in emitted.body
