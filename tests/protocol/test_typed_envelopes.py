"""Envelopes are what typed gateways and SDKs expect, and show nothing beside that."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import anthropic.types
import openai.types
import openai.types.audio
import openai.types.chat
import openai.types.responses
import pytest
from pydantic import TypeAdapter

from tests.protocol.answers import (
    BODIES,
    CANARY,
    NUMBER,
    RESPONSE,
    chat_events,
    completion_events,
    messages_events,
    named_event,
    poisoned,
    sealed,
    sealed_events,
    shown,
)

RESPONSES = "/v1/responses"
HIDDEN = (
    CANARY.encode(),
    str(NUMBER).encode(),
    b"0.424242",
    b'"tool_calls"',
    b'"tool_use"',
)


def validate(model: Any, data: bytes) -> Any:
    """Return the object, whose members must have the very types of ``model``."""
    return TypeAdapter(model).validate_json(data, strict=True)


def event_types() -> dict[str, Any]:
    """Return the class of each event of the Responses API, by its type."""
    union = get_args(openai.types.responses.ResponseStreamEvent)[0]
    return {
        get_args(model.model_fields["type"].annotation)[0]: model
        for model in get_args(union)
    }


EVENTS = event_types()
# Beside every one that the Messages API or a tool of the host's own may send.
SEALED_WHOLE = (
    "response.audio.",
    "response.code_interpreter_call.",
    "response.compaction.",
    "response.file_search_call.",
    "response.image_generation_call.",
    "response.mcp_call.",
    "response.mcp_list_tools.",
    "response.output_text.annotation.",
    "response.reasoning_summary_",
    "response.shell_call_",
    "response.web_search_call.",
)


def response_event(kind: str) -> dict[str, Any]:
    """Return an event of a type, with a canary wherever its own words would be."""
    members: dict[str, Any] = {
        name: CANARY
        for name in ("delta", "text", "arguments", "input", "code", "refusal", "name")
    }
    members["item"] = members["part"] = {"type": "message", "text": CANARY}
    if "response" in EVENTS[kind].model_fields:
        members = {"response": RESPONSE}
    return {"type": kind, "sequence_number": NUMBER, "item_id": CANARY, **members}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("chat", openai.types.chat.ChatCompletion),
        ("batch", openai.types.chat.ChatCompletion),
        ("completions", openai.types.Completion),
        ("responses", openai.types.responses.Response),
        ("messages", anthropic.types.Message),
        ("count", anthropic.types.MessageTokensCount),
        ("transcription", openai.types.audio.Transcription),
        ("verbose transcription", openai.types.audio.TranscriptionVerbose),
        ("translation", openai.types.audio.Translation),
        ("verbose translation", openai.types.audio.TranslationVerbose),
    ],
)
async def test_a_body_is_of_its_sdk_s_type(name: str, model: Any) -> None:
    path, body = BODIES[name]
    wire = await sealed(path, json.dumps(body).encode())
    validate(model, wire)


async def test_embeddings_have_the_string_form() -> None:
    path, body = BODIES["embeddings"]
    wire = await sealed(path, json.dumps(body).encode())
    # The SDK's type knows lists only, although it asks for strings itself.
    envelope = json.loads(wire)
    (item,) = envelope["data"]
    assert item.pop("embedding").startswith("sgop1.")
    item["embedding"] = []
    validate(openai.types.CreateEmbeddingResponse, json.dumps(envelope).encode())


@pytest.mark.parametrize(
    ("path", "events", "model"),
    [
        ("/v1/chat/completions", chat_events(), openai.types.chat.ChatCompletionChunk),
        ("/v1/completions", completion_events(), openai.types.Completion),
        ("/v1/messages", messages_events(), anthropic.types.RawMessageStreamEvent),
    ],
)
async def test_each_event_is_of_its_sdk_s_type(
    path: str, events: list[bytes], model: Any
) -> None:
    datas = await sealed_events(path, *events)
    assert len(datas) >= len(events) - 1
    for data in datas:
        if path == "/v1/completions":
            # Its type knows no event before the last one, although there are some.
            data = re.sub(rb'("finish_reason":) *null', rb'\1"stop"', data)
        if json.loads(data) != {"type": "ping"}:
            validate(model, data)
        for hidden in HIDDEN:
            assert hidden not in shown(data)


@pytest.mark.parametrize("kind", EVENTS)
async def test_each_event_of_the_responses_api_is_of_its_type(kind: str) -> None:
    events = [named_event(response_event("response.created"))]
    if kind != "response.created":
        events.append(named_event(response_event(kind)))
    datas = await sealed_events(RESPONSES, *events)
    data = datas[len(events) - 1]
    for hidden in HIDDEN:
        assert hidden not in shown(data)
    if kind.startswith(SEALED_WHOLE):
        assert set(json.loads(data)) == {"sealed"}
        return
    event = validate(EVENTS[kind], data)
    assert event.type == kind
    assert b"sgop1." in data


async def test_the_failure_of_a_stream_is_an_event_of_its_type() -> None:
    from stainedglass_output_protection.protocol.carriers import envelopes_for

    (failure,) = envelopes_for("responses").failure
    data = failure.split(b"\n")[1].removeprefix(b"data: ")
    validate(openai.types.responses.ResponseErrorEvent, data)
    # By this member SDKs raise, as they do for an event without a type.
    assert json.loads(data)["error"]["code"] == 500
    (failure,) = envelopes_for("messages").failure
    data = failure.split(b"\n")[1].removeprefix(b"data: ")
    validate(anthropic.types.ErrorResponse, b'{"request_id":null,' + data[1:])


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed", "in_progress"])
async def test_a_response_of_any_status_is_of_its_type(status: str) -> None:
    body = {**RESPONSE, "status": status, "usage": None}
    if status == "failed":
        body["error"] = {"code": "server_error", "message": CANARY}
    wire = await sealed(RESPONSES, json.dumps(body).encode())
    response = validate(openai.types.responses.Response, wire)
    assert response.status == ("completed" if status == "failed" else status)
    assert CANARY.encode() not in wire


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_shows_the_same_whatever_else_is_in_it(name: str) -> None:
    path, body = BODIES[name]
    wire = shown(await sealed(path, json.dumps(body).encode()))
    assert wire.count(b"FRAME") == 1
    for hidden in HIDDEN:
        assert hidden not in wire
    # In the same order and with the same bytes.
    other = await sealed(path, json.dumps(poisoned(body)).encode())
    assert shown(other) == wire


@pytest.mark.parametrize(
    ("path", "events"),
    [
        ("/v1/chat/completions", chat_events()),
        ("/v1/completions", completion_events()),
        ("/v1/messages", messages_events()),
        (
            RESPONSES,
            [
                named_event(response_event(kind))
                for kind in EVENTS
                if kind not in ("response.completed", "response.incomplete")
            ],
        ),
    ],
    ids=["chat", "completions", "messages", "responses"],
)
async def test_a_stream_shows_the_same_whatever_else_is_in_it(
    path: str, events: list[bytes]
) -> None:
    def poison(event: bytes) -> bytes:
        lines = event.split(b"\n")
        at = next(i for i, line in enumerate(lines) if line.startswith(b"data: "))
        try:
            members = json.loads(lines[at].removeprefix(b"data: "))
        except ValueError:
            return event
        lines[at] = b"data: " + json.dumps(poisoned(members)).encode()
        return b"\n".join(lines)

    plain = [shown(data) for data in await sealed_events(path, *events)]
    other = await sealed_events(path, *map(poison, events))
    assert [shown(data) for data in other] == plain
    for data in plain:
        assert not any(hidden in data for hidden in HIDDEN)


@pytest.mark.parametrize("carrier", ["chat", "completions", "embeddings", "classify"])
async def test_a_common_error_keeps_its_type_on_every_route(carrier: str) -> None:
    path, _ = BODIES[carrier]
    error = {"message": CANARY, "type": "BadRequestError", "param": CANARY, "code": 400}
    wire = await sealed(path, json.dumps({"error": error}).encode())
    assert json.loads(shown(wire)) == {
        "error": {"message": "FRAME", "type": "BadRequestError", "code": 400}
    }


async def test_an_error_of_the_messages_api_is_of_its_type() -> None:
    error = {"type": "overloaded_error", "message": CANARY}
    body = json.dumps({"type": "error", "error": error, "request_id": CANARY}).encode()
    wire = await sealed("/v1/messages", body)
    assert CANARY.encode() not in wire
    validate(anthropic.types.ErrorResponse, b'{"request_id":null,' + wire[1:])
