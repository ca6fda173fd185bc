"""llama.cpp's server behind the sidecar, on the tiny model, which says what it was taught.

``SG_TEST_LLAMA_CPP_PYTHON`` names a Python that has ``llama-cpp-python[server]`` and
``gguf``: ``scripts/test --with llama-cpp`` makes one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.apps.sidecar.llama_cpp_engine import Engine, Sidecar, beside, running
from tests.apps.sidecar.sidecars import READY, client_of, sdk_of
from tests.apps.sidecar.test_metrics import requests_of
from tests.asgi.applications import CHAT, Identity
from tests.asgi.serving import TIMEOUT_S, fetched
from tests.tiny_dialogues import BY_NAME, CANARIES, Dialogue
from tests.vllm_integration.leaks import PROMPT_WORDS, Detector
from tests.vllm_integration.servers import MODEL, MODEL_PATH

PYTHON = os.environ.get("SG_TEST_LLAMA_CPP_PYTHON", "")
# More than fit between the engine and one who does not read.
_MANY_TOKENS = 12000

OF_EACH_PROFILE = pytest.mark.parametrize("profile", ["sealed", "output"])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine, which has loaded its model."""
    if not PYTHON:
        pytest.skip("SG_TEST_LLAMA_CPP_PYTHON names no Python with llama-cpp-python")
    if not (MODEL_PATH / "config.json").exists():
        pytest.fail("there is no tiny model: scripts/setup makes it")
    with running(PYTHON, tmp_path_factory.mktemp("llama-cpp")) as engine:
        yield engine


@pytest.fixture
def sidecar(engine: Engine, identity: Identity) -> Iterator[Sidecar]:
    with beside(engine) as sidecar:
        yield sidecar


def plainly(url: str) -> openai.OpenAI:
    """Return an SDK that knows nothing of the protection."""
    client = openai.DefaultHttpxClient(trust_env=False, timeout=TIMEOUT_S)
    return openai.OpenAI(base_url=f"{url}/v1", api_key="k", http_client=client)


def told(sdk: openai.OpenAI, path: str, body: dict[str, Any]) -> Any:
    """Return a whole answer and the events of a stream, without what is new each time."""
    api: Any = sdk.completions if path == "/v1/completions" else sdk.chat.completions
    whole, stream = api.create(**body), api.create(**body, stream=True)
    events = [it.model_dump(exclude={"id", "created"}) for it in stream]
    return whole.model_dump(exclude={"id", "created"}), events


ASKED: dict[str, tuple[Dialogue, dict[str, Any]]] = {
    "one line": (BY_NAME["canary"], {}),
    "a conversation": (BY_NAME["multi_turn"], {}),
    "every kind of character": (BY_NAME["escapes"], {}),
    "long": (BY_NAME["story"], {}),
    "a completion": (BY_NAME["completion"], {}),
    "cut short": (BY_NAME["canary"], {"max_tokens": 3}),
    "a model that it has not": (BY_NAME["canary"], {"model": "other"}),
}


@OF_EACH_PROFILE
@pytest.mark.parametrize("name", ASKED)
def test_the_openai_sdk_reads_what_it_reads_without_protection(
    engine: Engine, sidecar: Sidecar, identity: Identity, name: str, profile: str
) -> None:
    dialogue, changes = ASKED[name]
    path, body = dialogue.request(MODEL, seed=7)
    body |= changes
    with plainly(engine.url) as sdk:
        whole, events = told(sdk, path, body)
    with sdk_of(sidecar.url, identity, profile=profile) as sdk:
        assert told(sdk, path, body) == (whole, events)

    (choice,) = whole["choices"]
    said = choice["text"] if "text" in choice else choice["message"]["content"]
    if name == "cut short":
        assert dialogue.content.startswith(said)
    else:
        assert said == dialogue.content
    assert choice["finish_reason"] == ("length" if name == "cut short" else "stop")
    assert events[-1]["choices"][0]["finish_reason"] == choice["finish_reason"]
    assert whole["usage"]["completion_tokens"] > 0

    words = {it for it in CANARIES if it in said}
    assert words
    if profile == "sealed":
        words |= {it for it in PROMPT_WORDS if it in str(body)}
    detector = Detector(MODEL_PATH, words)
    assert not detector.find(sidecar.wire())
    # What is looked for was there to be seen.
    assert {it.word for it in detector.find(sidecar.plaintext())} == words


@OF_EACH_PROFILE
def test_what_the_engine_says_of_a_bad_request_comes_sealed(
    engine: Engine, sidecar: Sidecar, identity: Identity, profile: str
) -> None:
    # It repeats what it does not understand.
    word = CANARIES[0]
    path, body = BY_NAME["canary"].request(MODEL, temperature=word)
    plain = fetched(engine.url + path, "POST", json=body)
    with client_of(identity, profile=profile) as client:
        answer = client.post(sidecar.url + path, json=body)

    assert answer.status_code == plain.status_code == 500
    assert answer.json() == plain.json()
    assert word in answer.json()["error"]["message"]
    detector = Detector(MODEL_PATH, [word])
    assert not detector.find(b"".join(sidecar.outside.from_server))
    assert detector.find(b"".join(sidecar.inside.from_server))


def test_who_leaves_stops_the_engine(
    engine: Engine, sidecar: Sidecar, identity: Identity
) -> None:
    # Without the token that ends an answer it goes on to the last one allowed.
    end = json.loads((MODEL_PATH / "config.json").read_text())["eos_token_id"]
    path, long = BY_NAME["story"].request(
        MODEL, stream=True, max_tokens=_MANY_TOKENS, logit_bias={str(end): -100}
    )
    before = len(engine.said())
    with client_of(identity) as client:
        with client.stream("POST", sidecar.url + path, json=long) as stream:
            pieces = stream.iter_raw()
            for _ in range(3):
                assert next(pieces)
        # It runs one request at a time: this is answered after the other's end.
        path, short = BY_NAME["canary"].request(MODEL)
        answer = client.post(sidecar.url + path, json=short)

    assert CANARIES[0] in answer.text
    assert "Disconnected from client" in engine.said()[before:]


def test_the_sidecar_counts_and_is_ready(sidecar: Sidecar, identity: Identity) -> None:
    path, body = BY_NAME["canary"].request(MODEL)
    with client_of(identity) as client:
        for streams in (False, True):
            client.post(sidecar.url + path, json={**body, "stream": streams})
    refused = fetched(sidecar.url + path, "POST", json=body)
    # Not a row of the table.
    closed = fetched(f"{sidecar.url}/extras/tokenize", "POST", json={"input": "w"})
    found = requests_of(sidecar, 4)

    def ended(*labels: str) -> float:
        return found["output_protection_requests_total", tuple(sorted(labels))]

    assert refused.json()["error"]["code"] == "client_key_missing"
    assert closed.json()["error"]["code"] == "route_not_protected"
    assert ended(CHAT, "sealed", "false") == ended(CHAT, "sealed", "true") == 1
    assert ended(CHAT, "refused", "false") == ended("other", "refused", "false") == 1
    # It has no page at /health, which is an answer nevertheless.
    assert fetched(f"{sidecar.url}/health").status_code == 404
    assert fetched(sidecar.url + READY).status_code == 200
    models = fetched(f"{sidecar.url}/v1/models").json()
    assert [it["id"] for it in models["data"]] == [MODEL]
