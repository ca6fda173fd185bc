"""A recorder on the wire and the complete log at debug level know no canary.

The same search finds every canary as soon as the middleware stands outermost.
"""

from __future__ import annotations

import json

import pytest

from stainedglass_output_protection.client import protected_client
from tests.tiny_dialogues import CANARIES, DIALOGUES
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.conftest import Answers, Identity
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import MODEL, Server, wait_for
from tests.vllm_integration.shapes import ANSWERED, REFUSED
from tests.vllm_integration.tcp_tap import TcpTap

pytestmark = pytest.mark.vllm

RESPONSES_LOGGED = 2 * len(DIALOGUES)


def _say_every_dialogue(server: Server, identity: str) -> bytes:
    """Ask everything through a recorder; return what the server sent."""
    opened = b""
    with (
        TcpTap(server.port) as tap,
        protected_client(
            identity=identity, base_url=tap.url, timeout=TIMEOUT_S
        ) as client,
    ):
        for dialogue in DIALOGUES:
            for streamed in (False, True):
                path, body = dialogue.request(MODEL, stream=streamed)
                response = client.post(path, json=body)
                assert response.status_code == 200
                opened += response.content
        recorded = b"\n".join(tap.from_server)
    # What was opened holds them all, so there was something to leak.
    for word in CANARIES:
        assert word in opened.decode(), word
    assert len(recorded) > len(opened)
    return recorded


def _logged_responses(server: Server) -> str:
    """Return the log once vLLM's response logger has written every response."""
    wait_for(
        lambda: server.log.count("response_body={") >= RESPONSES_LOGGED,
        "the logged responses",
    )
    return server.log


def test_wire_and_log_of_two_api_servers_hold_no_canary(
    two_servers: Server, generated_identity: str, detector: Detector
) -> None:
    recorded = _say_every_dialogue(two_servers, generated_identity)
    log = _logged_responses(two_servers)

    assert recorded.count(b"sgop1.") > 300
    assert detector.find(recorded) == []
    assert "DEBUG" in log
    assert "CAUTION: Enabling log response" in log
    assert log.count("sgop1.") >= len(DIALOGUES)
    assert detector.find(log.encode()) == []


def test_log_of_every_request_shape_holds_no_canary(
    main_server: Server, answers: Answers, detector: Detector
) -> None:
    for shape in (*ANSWERED, *REFUSED):
        assert answers[shape].status == shape.status

    log = main_server.log
    assert log.count("DEBUG") > 1000
    assert detector.find(log.encode()) == []


def test_plain_vllm_serve_with_the_plugin_holds_no_canary(
    plain_server: Server, identity: Identity, detector: Detector
) -> None:
    recorded = _say_every_dialogue(plain_server, identity.fingerprint)
    log = _logged_responses(plain_server)

    assert detector.find(recorded) == []
    assert detector.find(log.encode()) == []


def test_same_search_finds_every_canary_if_the_middleware_is_outermost(
    outermost_server: Server, identity: Identity, detector: Detector
) -> None:
    recorded = _say_every_dialogue(outermost_server, identity.fingerprint)
    log = _logged_responses(outermost_server)

    assert {leak.word for leak in detector.find(log.encode())} == set(CANARIES)
    # It is still sealed on the wire: only what looks inside the process sees it.
    assert detector.find(recorded) == []


def test_errors_of_a_refused_request_are_sealed_on_plain_vllm_too(
    plain_server: Server, identity: Identity
) -> None:
    body = json.dumps({"model": "other", "prompt": "x"})
    with protected_client(
        identity=identity.fingerprint, base_url=plain_server.url
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
