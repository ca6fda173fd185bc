"""The SDK's other calls in profile sealed, over a real connection."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from stainedglass_output_protection.client import (
    protected_async_client,
    protected_client,
)
from stainedglass_output_protection.protocol.owner import owns_response
from tests.client.fake_server import EVENTS, JSON, Received, Wire, error_body, serve
from tests.client.sealed_cases import (
    ANSWERED,
    ASKED,
    RESPONSES_EVENTS,
    is_seen,
)
from tests.client.sealed_server import SealedServer


class Responses:
    """An application that keeps responses, and answers other calls."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}

    def __call__(self, call: Received) -> Wire:
        _, _, path = call.path.partition("/v1/")
        if path == "responses":
            return self._create(call)
        if path.startswith("responses/"):
            _, response_id, *cancel = path.split("/")
            if response_id not in self.kept:
                return Wire(404, {"content-type": JSON}, [error_body("none", 404)])
            response = self.kept[response_id]
            if cancel:
                response["status"] = "cancelled"
            return self._json(response)
        if path == "embeddings":
            item = {"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            return self._json(
                {"object": "list", "data": [item], "model": "m", "usage": usage}
            )
        assert path == "audio/transcriptions"
        return self._json({"text": ANSWERED})

    def _create(self, call: Received) -> Wire:
        asked = call.asked
        if asked.get("stream"):
            return Wire(200, {"content-type": EVENTS}, RESPONSES_EVENTS)
        content = {"type": "output_text", "text": ANSWERED, "annotations": []}
        message = {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [content],
        }
        response = {
            "id": asked["request_id"],
            "object": "response",
            "created_at": 1,
            "model": asked["model"],
            "status": "queued" if asked.get("background") else "completed",
            "output": [message],
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
        }
        if asked.get("store", True):
            self.kept[response["id"]] = response
        return self._json(response)

    def _json(self, value: Any) -> Wire:
        return Wire(200, {"content-type": JSON}, [json.dumps(value).encode()])


@pytest.fixture
def server() -> Iterator[SealedServer]:
    made = SealedServer()
    made.app.answer = Responses()
    with serve(made):
        yield made
        assert not is_seen(made, ASKED, ANSWERED)


def sdk_for(server: SealedServer, owner_file: Path | None = None) -> openai.OpenAI:
    client = protected_client(identity=server.fingerprint, owner_file=owner_file)
    return openai.OpenAI(base_url=server.base_url, api_key="k", http_client=client)


def test_a_stored_response_is_fetched_by_its_owner(
    server: SealedServer, tmp_path: Path
) -> None:
    owner_file = tmp_path / "owner"
    with sdk_for(server, owner_file) as sdk:
        made = sdk.responses.create(model="m", input=ASKED, store=True, background=True)
        assert sdk.responses.retrieve(made.id).output_text == ANSWERED
    # In another process, with the same file.
    with sdk_for(server, owner_file) as sdk:
        assert sdk.responses.retrieve(made.id).id == made.id
        assert sdk.responses.cancel(made.id).status == "cancelled"
        continued = sdk.responses.create(
            model="m", input=ASKED, previous_response_id=made.id
        )
        assert continued.id != made.id
        calls = len(server.app.calls)
    with sdk_for(server) as sdk:
        for ask in (
            lambda: sdk.responses.retrieve(made.id),
            lambda: sdk.responses.cancel(made.id),
            lambda: sdk.responses.create(
                model="m", input=ASKED, previous_response_id=made.id
            ),
            lambda: sdk.responses.retrieve("resp_1"),
        ):
            with pytest.raises(openai.NotFoundError) as caught:
                ask()
            assert caught.value.code == "response_not_found"
            assert caught.value.response.headers["x-output-protection"] == "opened"
    assert len(server.app.calls) == calls


def test_an_owner_s_file_names_the_owner(server: SealedServer, tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "one", tmp_path / "two", None, None]
    owners = []
    for file in files:
        with sdk_for(server, file) as sdk:
            sdk.responses.create(model="m", input=ASKED)
        owners.append(server.app.calls[-1].asked["cache_salt"])
    assert owners[0] == owners[1]
    assert len(set(owners)) == 4


def test_the_secret_in_the_file_is_not_on_the_way(
    server: SealedServer, tmp_path: Path
) -> None:
    owner_file = tmp_path / "owner"
    with sdk_for(server, owner_file) as sdk:
        made = sdk.responses.create(model="m", input=ASKED)
    text = owner_file.read_text().strip()
    assert not is_seen(server, text)
    owner = base64.b64decode(text)
    assert owns_response(owner, made.id)
    raw = b"".join(it.raw for it in [*server.received, *server.sent])
    assert owner.hex().encode() not in raw


def test_a_streamed_response(server: SealedServer) -> None:
    with sdk_for(server) as sdk:
        events = list(sdk.responses.create(model="m", input=ASKED, stream=True))
    assert [event.type for event in events] == [
        "response.created",
        *["response.output_text.delta"] * 3,
        "response.completed",
    ]
    assert events[1].delta == ANSWERED


def test_embeddings_and_an_upload(server: SealedServer) -> None:
    with sdk_for(server) as sdk:
        embedded = sdk.embeddings.create(
            model="m", input=[ASKED], encoding_format="float"
        )
        assert embedded.data[0].embedding == [0.25, -1.5]
        content = b"RIFF\x00\r\n--\xff" + ASKED.encode()
        said = sdk.audio.transcriptions.create(
            model="m", file=(f"{ASKED}.wav", content), prompt=ASKED
        )
        assert said.text == ANSWERED
    call = server.app.calls[-1]
    assert content in call.body
    assert call.values("content-type")[0].startswith("multipart/form-data; boundary=")
    assert call.values("content-length") == [str(len(call.body))]


async def test_an_async_upload(server: SealedServer) -> None:
    client = protected_async_client(identity=server.fingerprint, opaque=True)
    async with openai.AsyncOpenAI(
        base_url=server.base_url, api_key="k", http_client=client
    ) as sdk:
        said = await sdk.audio.transcriptions.create(
            model="m", file=("a.wav", ASKED.encode()), prompt=ASKED
        )
    assert said.text == ANSWERED
    assert server.sent[-1].headers["content-type"] == "application/vnd.sgop1"


def test_a_fault_of_the_server_is_retried_with_a_fresh_request(
    server: SealedServer,
) -> None:
    answer = server.app.answer

    def unavailable(call: Received) -> Wire:
        if len(server.app.calls) < 2:
            headers = {"content-type": JSON, "retry-after-ms": "1", "retry-after": "0"}
            return Wire(503, headers, [error_body(ANSWERED, 503)])
        return answer(call)

    server.app.answer = unavailable
    with sdk_for(server) as sdk:
        assert sdk.responses.create(model="m", input=ASKED).output_text == ANSWERED
    assert len(server.app.calls) == 2
    assert len({request.sealed_text for request in server.attempts}) == 2
    assert len({request.client_key for request in server.attempts}) == 2


def test_the_api_key_is_hidden_where_that_is_chosen(server: SealedServer) -> None:
    key = "sk-incarnadine-0"
    for is_sealed in (True, False):
        client = protected_client(
            identity=server.fingerprint, seal_authorization=is_sealed
        )
        with openai.OpenAI(
            base_url=server.base_url, api_key=key, http_client=client
        ) as sdk:
            sdk.responses.create(model="m", input=ASKED)
        assert is_seen(server, key) is not is_sealed
