"""The shapes in which sealed requests travel, through a router that parses some of them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from stainedglass_output_protection.client.verdict import EXTENSION, Mark
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.attacks.clients import asking
from tests.vllm_integration.attacks.relay import Relay, Reply, Request
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.fleet.conftest import MakeClient
from tests.vllm_integration.fleet.keys import sg_vllm_keys
from tests.vllm_integration.fleet.replicas import Answered, Watch
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.servers import MODEL

pytestmark = pytest.mark.vllm

CANARY = BY_NAME["canary"]
COMPLETION = BY_NAME["completion"]
_QUESTION = "Tell me the secret sentence."
_MESSAGES = [{"role": "user", "content": _QUESTION}]
_GREEDY = {"model": MODEL, "temperature": 0}

CHAT, CHAT_BODY = CANARY.request(MODEL)
COMPLETIONS, COMPLETIONS_BODY = COMPLETION.request(MODEL)
# Path, body, and what the answer says.
GENERATING: list[tuple[str, dict[str, Any], str | None]] = [
    (CHAT, CHAT_BODY, CANARY.content),
    (COMPLETIONS, COMPLETIONS_BODY, COMPLETION.content),
    (
        "/v1/responses",
        {**_GREEDY, "input": _QUESTION, "store": False},
        CANARY.content,
    ),
    (
        "/v1/messages",
        {**_GREEDY, "messages": _MESSAGES, "max_tokens": 512},
        CANARY.content,
    ),
]
OTHERS: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/messages/count_tokens", {"model": MODEL, "messages": _MESSAGES}, "input_tok"),
    ("/tokenize", {"model": MODEL, "prompt": _QUESTION}, "token_strs"),
    ("/detokenize", {"model": MODEL, "tokens": [300, 301]}, "prompt"),
]
UNARY_AND_STREAMED = [
    pytest.param(False, id="unary"),
    pytest.param(True, id="streamed"),
]
# This model does not embed, so vLLM has no such routes and its own router says so.
_RERANK = {"model": MODEL, "query": _QUESTION, "documents": ["a"]}
NOT_MOUNTED = [
    ("/v1/embeddings", {"model": MODEL, "input": _QUESTION}),
    ("/v2/rerank", _RERANK),
    ("/v1/rerank", _RERANK),
]


def _path_of(value: object) -> str:
    return value if isinstance(value, str) and value.startswith("/") else ""


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
@pytest.mark.parametrize(("path", "body", "said"), GENERATING, ids=_path_of)
def test_shapes_that_generate(
    make_client: MakeClient, path: str, body: dict[str, Any], said: str, stream: bool
) -> None:
    answer = make_client().post(path, json={**body, "stream": stream})

    assert answer.status_code == 200
    assert answer.extensions[EXTENSION].mark is Mark.OPENED
    if stream:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert said == _text_of_events(answer.text)
    else:
        assert said in answer.text


@pytest.mark.parametrize("stream", UNARY_AND_STREAMED)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_errors_come_back_sealed(
    make_client: MakeClient, path: str, stream: bool
) -> None:
    body = {CHAT: CHAT_BODY, COMPLETIONS: COMPLETIONS_BODY}[path]

    answer = make_client().post(path, json={**body, "stream": stream, "n": -1})

    assert answer.status_code == 400
    assert answer.extensions[EXTENSION].mark is Mark.OPENED


@pytest.mark.parametrize("stream", UNARY_AND_STREAMED)
def test_opaque_answers_come_back(make_client: MakeClient, stream: bool) -> None:
    answer = make_client(opaque=True).post(CHAT, json={**CHAT_BODY, "stream": stream})

    assert answer.status_code == 200
    assert answer.extensions[EXTENSION].mark is Mark.OPENED


@pytest.mark.parametrize(("path", "body", "member"), OTHERS, ids=_path_of)
def test_shapes_that_do_not_generate(
    make_client: MakeClient, path: str, body: dict[str, Any], member: str
) -> None:
    answer = make_client().post(path, json=body)

    assert answer.status_code == 200
    assert answer.extensions[EXTENSION].mark is Mark.OPENED
    assert member in answer.text


@pytest.mark.parametrize(("path", "body"), NOT_MOUNTED, ids=_path_of)
def test_shapes_that_only_other_models_take_arrive(
    make_client: MakeClient, watch: Watch, path: str, body: dict[str, Any]
) -> None:
    answer = make_client().post(path, json=body)

    assert answer.status_code == 404
    assert watch.posts() == {Answered("POST", path, 404): 1}


def test_limit_of_a_router_that_parses_what_it_does_not_know_sealed(
    make_client: MakeClient, watch: Watch
) -> None:
    body = {"model": MODEL, "token_ids": [300]}

    answer = make_client().post("/inference/v1/generate", json=body)

    # The router's own words: no replica has seen the request.
    assert answer.status_code == 422
    assert answer.extensions[EXTENSION].mark is Mark.UNAUTHENTICATED
    assert not watch.posts()


def test_request_without_a_body_travels_in_its_header(make_client: MakeClient) -> None:
    answer = make_client().get("/v1/responses/resp_0")

    assert answer.status_code == 404
    assert answer.extensions[EXTENSION].mark is Mark.OPENED


def test_key_document_passes(router: Router, identity: Identity) -> None:
    shown = sg_vllm_keys("verify", router.url, "--identity", identity.fingerprint)

    assert "mlkem768-x25519" in shown.lower()


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
def test_key_document_comes_with_a_refusal_where_it_is_not_routed(
    relay: Relay, identity: Identity, stream: bool
) -> None:
    def not_found(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return Reply(404, (("content-type", "text/html"),), b"<h1>Not found</h1>")
        return relay.forward(request)

    relay.move = not_found
    with asking(relay, identity.fingerprint) as client:
        outcomes = [client.ask(stream=stream) for _ in range(3)]

    assert all(outcome.is_the_truth() for outcome in outcomes)
    # The first had nothing to seal to; the others had, as long as that is young.
    counts = Counter(reply.status for reply in relay.replies)
    assert counts[200] == 3
    assert counts[422] == len([it for it in relay.requests if it.is_for_a_document])
    assert sum(counts.values()) == counts[200] + counts[422]


def _text_of_events(text: str) -> str:
    said = ""
    for line in text.splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line[6:])
        for choice in event.get("choices", ()):
            said += choice.get("text") or choice.get("delta", {}).get("content") or ""
        delta = event.get("delta")
        kind = event.get("type", "")
        if kind == "content_block_delta":
            said += delta.get("text", "")
        elif kind == "response.output_text.delta":
            said += delta
    return said
