"""A server of EasyDeL's make: all that it says opens, and nothing leaks."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.asgi.applications import ASK, CANARY, CHAT, PIECES
from tests.asgi.asking import (
    ASKED,
    COMPLETIONS,
    RESPONSES,
    body_of,
    raw,
    stream_of,
)
from tests.asgi.inference_server import ORIGIN
from tests.asgi.scripted_engine import CALLING, FAILING, FAILURE, PLAYING
from tests.asgi.serving import fetched

# What tells one answer from another.
_OF_ITS_OWN = ("id", "item_id", "request_id", "created", "created_at", "timestamp")


def said_by(response: Any) -> Any:
    """Return an answer, or the list of its events, without what is its own alone."""
    if response.headers["content-type"] == "application/json":
        return _masked(response.json())
    lines = [line for line in response.text.splitlines() if line]
    data = "data: "
    return [
        _masked(json.loads(line[len(data) :])) if line.startswith(f"{data}{{") else line
        for line in lines
    ]


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(it) for it in value]
    if isinstance(value, dict):
        if str(value.get("type")).endswith(".added"):
            # EasyDeL may be adding to the item by the time it is written.
            value = {"type": value["type"]}
        return {k: "" if k in _OF_ITS_OWN else _masked(v) for k, v in value.items()}
    return value


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "prompt"), ASKED)
def test_it_opens_to_what_is_said_without_protection(
    url: str, bare: str, client: Any, path: str, prompt: str, stream: bool
) -> None:
    body = body_of(path, prompt, stream=stream)
    opened = client.post(url + path, json=body)
    plain = fetched(bare + path, "POST", json=body)

    assert said_by(opened) == said_by(plain)
    assert opened.status_code == plain.status_code
    assert any(it in opened.text for it in (CANARY, PIECES[0]))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "prompt"), ASKED)
def test_the_network_sees_no_word(
    url: str, path: str, prompt: str, stream: bool
) -> None:
    told = raw(url, path, body_of(path, prompt, stream=stream))

    assert "sgop1." in told.text
    seen = f"{told.headers} {told.text}"
    assert not [it for it in (CANARY, *PIECES) if it in seen]


def test_answers_usage_and_finish_reason(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(**body_of(CHAT, PLAYING))
    called = sdk.chat.completions.create(**body_of(CHAT, CALLING))
    text = sdk.completions.create(**body_of(COMPLETIONS, PLAYING))
    stream = list(sdk.chat.completions.create(**body_of(CHAT, PLAYING), stream=True))

    assert whole.choices[0].message.content == "".join(PIECES)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage
    assert whole.usage.completion_tokens == len(PIECES)
    assert called.choices[0].finish_reason == "tool_calls"
    assert (text.choices[0].text, text.choices[0].finish_reason) == (
        "".join(PIECES),
        "stop",
    )
    assert [it.choices[0].delta.content for it in stream] == [*PIECES, ""]
    assert stream[-1].choices[0].finish_reason == "stop"


def test_usage_is_readable_on_the_way(url: str, bare: str) -> None:
    body = body_of(CHAT, PLAYING)
    sealed = raw(url, CHAT, body).json()["usage"]
    plain = fetched(bare + CHAT, "POST", json=body).json()["usage"]

    # Others count by these three. What an engine tells beside them is sealed.
    assert sealed == {
        it: plain[it] for it in ("prompt_tokens", "completion_tokens", "total_tokens")
    }


def test_responses_whole_and_as_named_events(sdk: openai.OpenAI) -> None:
    whole = sdk.responses.create(**body_of(RESPONSES, PLAYING))
    events = list(sdk.responses.create(**body_of(RESPONSES, PLAYING), stream=True))

    assert whole.output_text == "".join(PIECES)
    deltas = [it.delta for it in events if it.type == "response.output_text.delta"]
    assert deltas == PIECES
    assert events[-1].type == "response.completed"


def test_responses_that_it_would_keep_are_refused_in_the_clear(url: str) -> None:
    told = raw(url, RESPONSES, {"model": "m", "input": PLAYING})

    assert told.status_code == 403
    assert CANARY not in told.text


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES])
def test_an_error_keeps_its_shape(url: str, client: Any, path: str) -> None:
    told = client.post(url + path, json=body_of(path, FAILING))

    assert told.status_code == 500
    assert told.json().keys() == {"error", "request_id", "timestamp"}
    assert told.json()["error"] == {
        "message": FAILURE,
        "type": "INTERNAL_SERVER_ERROR",
    }


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES])
def test_an_error_inside_a_stream_keeps_its_shape(
    url: str, client: Any, sdk: openai.OpenAI, path: str
) -> None:
    told = client.post(url + path, json=body_of(path, FAILING, stream=True))
    with pytest.raises(openai.APIError) as raised:
        list(stream_of(sdk, path, FAILING))

    last = json.loads(told.text.strip().splitlines()[-1].removeprefix("data: "))
    error = last["error"] if path == RESPONSES else last
    assert error.keys() == {"error", "request_id", "timestamp"}
    assert error["error"] == {"message": FAILURE, "type": "INTERNAL_SERVER_ERROR"}
    assert FAILURE in str(raised.value.body)


def test_pages_of_other_origins_are_shown_our_header(url: str) -> None:
    key = ClientKeyPair.generate().header_value
    headers = {"x-client-public-key": key, "origin": ORIGIN}
    told = fetched(url + CHAT, json=ASK, headers=headers, method="POST")

    assert "x-server-public-key" in told.headers["access-control-expose-headers"]
    assert told.headers["access-control-allow-origin"] == ORIGIN
