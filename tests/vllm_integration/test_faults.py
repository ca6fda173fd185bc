"""Clients that go away, and a vLLM that raises."""

from __future__ import annotations

import http.client
import json
import re

import openai
import pytest

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.asking import Asker, new_test_id
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.servers import CONTEXT, MODEL, Server, wait_for
from tests.vllm_integration.shapes import CHAT, COMPLETIONS

pytestmark = pytest.mark.vllm

RUNNING = "vllm:num_requests_running"
GENERATED = "vllm:generation_tokens_total"
EARLY_WORDS = "Snorkelbane-was-asked"
WORDS = "Grumblethwack-has-the-key"
SERVER_FAILED = "The server failed while it was answering."
# Half a minute of work for the engine, and little for its API server.
_TOKENS = CONTEXT - 1024
_ENDLESS = {"temperature": 1, "ignore_eos": True, "max_tokens": _TOKENS}


def _metric(asker: Asker, name: str) -> float:
    text = asker.client.get("/metrics", headers={"x-test-id": new_test_id("m")}).text
    lines = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, lines))


def _live_keys(asker: Asker) -> int:
    response = asker.client.get(
        "/health", headers={"x-test-report": "1", "x-test-id": new_test_id("live")}
    )
    return int(response.headers["x-test-live-keys"])


def _wait_until_it_runs(asker: Asker) -> None:
    wait_for(lambda: _live_keys(asker) == 1, "the key")
    wait_for(lambda: _metric(asker, RUNNING) > 0, "the engine's start")


def _wait_until_it_has_ended(asker: Asker) -> None:
    wait_for(lambda: _live_keys(asker) == 0, "the key's removal")
    wait_for(lambda: _metric(asker, RUNNING) == 0, "the abort")


@pytest.mark.parametrize(
    ("dialogue", "path"), [("story", CHAT), ("completion", COMPLETIONS)]
)
def test_disconnect_aborts_generation_and_removes_the_key(
    asker: Asker, main_server: Server, dialogue: str, path: str
) -> None:
    test_id = new_test_id("disconnect")
    _, body = BY_NAME[dialogue].request(MODEL, stream=True)
    generated = _metric(asker, GENERATED)

    with asker.client.stream(
        "POST", path, json={**body, **_ENDLESS}, headers={"x-test-id": test_id}
    ) as response:
        chunks = response.iter_bytes()
        for _ in range(3):
            assert next(chunks).startswith(b"data: ")
        _wait_until_it_runs(asker)

    _wait_until_it_has_ended(asker)
    assert b"[DONE]" not in main_server.emitted(test_id).body
    made = _metric(asker, GENERATED) - generated
    assert made < _TOKENS / 2


def test_unary_disconnect_aborts_too(asker: Asker, main_server: Server) -> None:
    _, body = BY_NAME["story"].request(MODEL)
    test_id = new_test_id("disconnect-unary")
    generated = _metric(asker, GENERATED)

    connection = http.client.HTTPConnection("127.0.0.1", main_server.port)
    connection.request(
        "POST",
        CHAT,
        body=json.dumps({**body, **_ENDLESS}),
        headers={
            "content-type": "application/json",
            "x-client-public-key": ClientKeyPair.generate().header_value,
            "x-test-id": test_id,
        },
    )
    _wait_until_it_runs(asker)
    connection.close()

    _wait_until_it_has_ended(asker)
    assert b"choices" not in main_server.emitted(test_id).body
    made = _metric(asker, GENERATED) - generated
    assert made < _TOKENS / 2


def _events(name: str) -> tuple[str, dict[str, object]]:
    return BY_NAME[name].request(MODEL, stream=True)


@pytest.mark.parametrize("dialogue", ["canary", "tool_call", "completion"])
def test_raising_in_a_stream_is_one_sealed_error_event_and_the_end(
    asker: Asker, main_server: Server, dialogue: str
) -> None:
    path, body = _events(dialogue)

    answer = asker.ask(
        path, body, headers={"x-test-fault": "3", "x-test-words": WORDS}, name="raise"
    )

    emitted = main_server.emitted(answer.test_id)
    assert emitted.end not in (None, "returned")
    assert len(emitted.pieces) == 3
    assert answer.status == 200
    assert answer.verdict.mark is Mark.OPENED
    assert answer.body.startswith(emitted.body)
    last, done, rest = answer.body[len(emitted.body) :].split(b"\n\n")
    assert json.loads(last.removeprefix(b"data: "))["error"] == {
        "message": SERVER_FAILED,
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
    assert (done, rest) == (b"data: [DONE]", b"")
    assert WORDS.encode() not in answer.body + answer.wire.body
    assert SERVER_FAILED.encode() not in answer.wire.body


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_raising_in_a_stream_is_an_api_error_in_the_sdk(
    main_server: Server, identity: Identity, profile: str
) -> None:
    _, body = _events("canary")
    seen = []
    with openai.OpenAI(
        base_url=f"{main_server.url}/v1",
        api_key="none",
        http_client=protected_client(identity=identity.fingerprint, profile=profile),
    ) as client:
        stream = client.chat.completions.create(
            **body,  # type: ignore[call-overload]
            extra_headers={
                "x-test-id": new_test_id("raise-sdk"),
                "x-test-fault": "3",
                "x-test-words": WORDS,
            },
        )
        with pytest.raises(openai.APIError) as caught:
            seen.extend(stream)

    assert len(seen) == 3
    assert caught.value.message == SERVER_FAILED


@pytest.mark.parametrize(
    ("fault", "streamed"), [("before", False), ("before", True), ("0", False)]
)
def test_raising_before_anything_is_sent_is_sealed_as_vllms_handler_says(
    asker: Asker, main_server: Server, fault: str, streamed: bool
) -> None:
    path, body = BY_NAME["canary"].request(MODEL, stream=streamed)

    answer = asker.ask(
        path,
        body,
        headers={"x-test-fault": fault, "x-test-words": EARLY_WORDS},
        name="raise-early",
    )

    emitted = main_server.emitted(answer.test_id)
    assert emitted.status == 500
    assert EARLY_WORDS.encode() in emitted.body
    assert (answer.status, answer.content_type, answer.body) == (
        emitted.status,
        emitted.content_type,
        emitted.body,
    )
    assert answer.verdict.mark is Mark.OPENED
    assert EARLY_WORDS.encode() not in answer.wire.body


def test_words_raised_in_a_stream_are_not_in_the_log(main_server: Server) -> None:
    assert "RuntimeError at " in main_server.log
    assert WORDS not in main_server.log


def test_words_raised_before_the_start_are_not_in_the_log(main_server: Server) -> None:
    assert "RuntimeError at " in main_server.log
    assert EARLY_WORDS not in main_server.log
