"""A recorder on the wire and the complete log at debug level know no canary.

The same search finds every canary as soon as the middleware stands outermost.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import Mark
from tests.tiny_dialogues import CANARIES, DIALOGUES
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.conftest import Answers, Identity
from tests.vllm_integration.leaks import PROMPT_WORDS, Detector
from tests.vllm_integration.servers import MODEL, MODEL_PATH, Server, wait_for
from tests.vllm_integration.shapes import ANSWERED, ECHOED, REFUSED
from tests.vllm_integration.tcp_tap import TcpTap

pytestmark = pytest.mark.vllm

PROFILES = ("sealed", "output")
RESPONSES_LOGGED = 2 * len(DIALOGUES)
_LOGGED = "response_body={"


@pytest.fixture(scope="session")
def strict_detector(folder: Path) -> Detector:
    """Finds what prompts say too."""
    return Detector(MODEL_PATH, (*CANARIES, *PROMPT_WORDS))


def _say_every_dialogue(server: Server, identity: str, profile: str) -> bytes:
    """Ask everything through a recorder; return what the server sent.

    In profile sealed, what the client sent too.
    """
    opened = b""
    with (
        TcpTap(server.port) as tap,
        protected_client(
            identity=identity, profile=profile, base_url=tap.url, timeout=TIMEOUT_S
        ) as client,
    ):
        for dialogue in DIALOGUES:
            for streamed in (False, True):
                path, body = dialogue.request(MODEL, stream=streamed)
                response = client.post(path, json=body)
                assert response.status_code == 200
                opened += response.content
        recorded = b"\n".join(tap.from_server)
        if profile == "sealed":
            recorded += b"\n".join(tap.from_client)
    # What was opened holds them all, so there was something to leak.
    for word in CANARIES:
        assert word in opened.decode(), word
    assert len(recorded) > len(opened)
    return recorded


def _logged_responses(server: Server, before: int = 0) -> str:
    """Return the log once vLLM's response logger has written every response."""
    wait_for(
        lambda: server.log.count(_LOGGED) >= before + RESPONSES_LOGGED,
        "the logged responses",
    )
    return server.log


@pytest.mark.parametrize("profile", PROFILES)
def test_wire_and_log_of_two_api_servers_hold_no_canary(
    two_servers: Server,
    generated_identity: str,
    detector: Detector,
    strict_detector: Detector,
    profile: str,
) -> None:
    before = two_servers.log.count(_LOGGED)
    recorded = _say_every_dialogue(two_servers, generated_identity, profile)
    log = _logged_responses(two_servers, before)

    assert recorded.count(b"sgop1.") > 300
    found = strict_detector if profile == "sealed" else detector
    assert found.find(recorded) == []
    assert "DEBUG" in log
    assert "CAUTION: Enabling log response" in log
    assert log.count("sgop1.") >= len(DIALOGUES)
    assert strict_detector.find(log.encode()) == []


def test_log_of_every_request_shape_holds_no_canary(
    main_server: Server,
    answers: Answers,
    sealed_answers: Answers,
    strict_detector: Detector,
) -> None:
    for shape in (*ANSWERED, *REFUSED):
        assert answers[shape].status == shape.status
        assert sealed_answers[shape].status == shape.status

    log = main_server.log
    assert log.count("DEBUG") > 1000
    assert strict_detector.find(log.encode()) == []


def test_wire_of_a_sealed_request_of_every_shape_holds_no_canary(
    main_server: Server, sealed_answers: Answers
) -> None:
    strict = Detector(MODEL_PATH, (*CANARIES, *PROMPT_WORDS, ECHOED))
    opened = asked = b""

    for shape in (*ANSWERED, *REFUSED):
        answer = sealed_answers[shape]
        emitted = main_server.emitted(answer.test_id)
        assert answer.verdict.mark is Mark.OPENED, shape.name
        assert answer.status == shape.status == emitted.status, shape.name
        assert answer.body == emitted.body, shape.name
        sent = answer.wire.sent
        assert b"sgop1-request." in sent, shape.name
        if "unknown-model" in shape.name:  # What routers need is readable.
            sent = sent.replace(ECHOED.encode(), b"")
        assert strict.find(sent + answer.wire.body) == [], shape.name
        opened += answer.body
        asked += shape.body
    # There was something to leak.
    assert not [word for word in CANARIES if word.encode() not in opened]
    assert not [word for word in PROMPT_WORDS if word.encode() not in asked]


@pytest.mark.parametrize("profile", PROFILES)
def test_plain_vllm_serve_with_the_plugin_holds_no_canary(
    plain_server: Server,
    identity: Identity,
    detector: Detector,
    strict_detector: Detector,
    profile: str,
) -> None:
    before = plain_server.log.count(_LOGGED)
    recorded = _say_every_dialogue(plain_server, identity.fingerprint, profile)
    log = _logged_responses(plain_server, before)

    found = strict_detector if profile == "sealed" else detector
    assert found.find(recorded) == []
    assert strict_detector.find(log.encode()) == []


def test_same_search_finds_every_canary_if_the_middleware_is_outermost(
    outermost_server: Server, identity: Identity, detector: Detector
) -> None:
    recorded = _say_every_dialogue(outermost_server, identity.fingerprint, "output")
    log = _logged_responses(outermost_server)

    assert {leak.word for leak in detector.find(log.encode())} == set(CANARIES)
    # It is still sealed on the wire: only what looks inside the process sees it.
    assert detector.find(recorded) == []


def test_errors_of_a_refused_request_are_sealed_on_plain_vllm_too(
    plain_server: Server, identity: Identity
) -> None:
    body = json.dumps({"model": "other", "prompt": "x"})
    with protected_client(
        identity=identity.fingerprint, profile="output", base_url=plain_server.url
    ) as client:
        headers = {"content-type": "application/json"}
        response = client.post("/v1/completions", content=body, headers=headers)

        assert response.status_code == 404
        assert response.headers["x-output-protection"] == "opened"
        assert client.get("/v1/models").json()["data"][0]["id"] == MODEL
        refused = client.post(
            "/v1/responses",
            content=b'{"background":true}',
            headers={"content-type": "application/json"},
        )
        assert refused.status_code == 403
        assert refused.headers["x-output-protection"] == "opened"
