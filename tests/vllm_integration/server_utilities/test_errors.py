"""Rows 9 to 11: vLLM's own exception handlers, whose words are sealed and not logged."""

from __future__ import annotations

from typing import Any

import pytest

from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.vllm_integration.server_utilities.conftest import TOKENS, Flagged, said
from tests.vllm_integration.servers import wait_for
from tests.vllm_integration.shapes import CHAT

pytestmark = pytest.mark.vllm

# What each handler is made to say, in words that stand nowhere else.
WORDS = "Snarkwhistle"


def _malformed(words: str) -> dict[str, Any]:
    return {**said(words), "temperature": words, "max_tokens": [words]}


CASES = {
    "row-9-http": (said(f"not-found:{WORDS}http"), 404, "http"),
    "row-10-validation": (_malformed(f"{WORDS}valid"), 400, "valid"),
    "row-11-value": (said(f"value:{WORDS}value"), 400, "value"),
    "row-11-runtime": (said(f"runtime:{WORDS}runtime"), 500, "runtime"),
}
OF_EACH = pytest.mark.parametrize(("body", "status", "word"), CASES.values(), ids=CASES)


@OF_EACH
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_the_client_reads_what_vllm_s_handler_says(
    flagged: Flagged,
    body: dict[str, Any],
    status: int,
    word: str,
    streamed: bool,
    profile: str,
) -> None:
    with flagged.protected(profile) as client:
        answer = client.post(CHAT, json={**body, "stream": streamed})
    assert answer.status_code == status
    assert answer.extensions["output_protection"].mark is Mark.OPENED
    error = answer.json()["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert error["code"] == status
    assert f"{WORDS}{word}" in error["message"]


@OF_EACH
@pytest.mark.parametrize("streamed", [False, True])
def test_the_wire_and_the_log_do_not_have_its_words(
    flagged: Flagged, body: dict[str, Any], status: int, word: str, streamed: bool
) -> None:
    """Though ``--log-error-stack`` asks for them and whole responses are logged."""
    logged = flagged.server.log.count("response_body={")
    with flagged.plain(TOKENS[0]) as client:
        answer = client.post(
            CHAT,
            json={**body, "stream": streamed},
            headers={"x-client-public-key": ClientKeyPair.generate().header_value},
        )
    assert answer.status_code == status
    assert set(answer.json()["error"]) >= {"code", "message", "type"}
    assert "sgop1." in answer.text
    assert WORDS not in answer.text
    wait_for(
        lambda: flagged.server.log.count("response_body={") > logged,
        "the logged response",
        60,
    )
    assert WORDS not in flagged.server.log
    assert WORDS not in flagged.access_log.read_text()


def test_errors_without_a_client_key_say_nothing_of_the_request(
    flagged: Flagged,
) -> None:
    with flagged.plain(TOKENS[0]) as client:
        for body, *_ in CASES.values():
            answer = client.post(CHAT, json=body)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "client_key_missing"
            assert WORDS not in answer.text
