"""Requests without a client key, in vLLM's own app, under each of the three policies.

``discard`` is a real server here, as ``required`` is in the other files. ``allow`` is in
``keyless_checks.py``, with vLLM's app in a process of its own.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import Mark
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.server_utilities.conftest import counted_by, said
from tests.vllm_integration.server_utilities.stub_engine import SECRET, answer_to
from tests.vllm_integration.servers import MODEL_PATH, ROOT, Server, wait_for
from tests.vllm_integration.shapes import CHAT

pytestmark = pytest.mark.vllm

WORDS = "Marmalade"
SCRIPT = Path(__file__).with_name("keyless_checks.py")
CHECKS = [
    item.name
    for item in ast.parse(SCRIPT.read_text()).body
    if isinstance(item, ast.AsyncFunctionDef) and item.name.startswith("check_")
]
LIMIT_S = 500.0


@pytest.fixture(scope="module")
def leaks() -> Detector:
    """Finds what the stand-in for an engine says, its asker's own words among it."""
    return Detector(MODEL_PATH, (SECRET, WORDS))


def _plain(server: Server) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, timeout=TIMEOUT_S)


def _discarded(server: Server, *, streamed: bool) -> float:
    labels = {"route": CHAT, "outcome": "discarded", "stream": str(streamed).lower()}
    with _plain(server) as client:
        found = counted_by(client)
    return found.get(("requests_total", frozenset(labels.items())), 0.0)


@pytest.mark.parametrize("streamed", [False, True])
def test_discard_answers_whole_and_to_nobody(
    discarding: Server, leaks: Detector, streamed: bool
) -> None:
    before = _discarded(discarding, streamed=streamed)
    with _plain(discarding) as client:
        answer = client.post(CHAT, json=said(WORDS, stream=streamed))

    assert answer.status_code == 200
    if streamed:
        *events, done, rest = answer.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        parsed = [json.loads(event.removeprefix("data: ")) for event in events]
        choices = [choice for event in parsed for choice in event["choices"]]
        assert "stop" in {choice.get("finish_reason") for choice in choices}, parsed
    else:
        parsed = [answer.json()]
        assert len(parsed[0]["choices"]) == 1
        assert parsed[0]["usage"]["total_tokens"] == 7
    # It was answered, and nobody has what would open it.
    assert b"sgop1." in answer.content
    assert leaks.find(answer.content) == []
    assert leaks.find(repr(answer.headers.raw).encode()) == []
    wait_for(
        lambda: _discarded(discarding, streamed=streamed) == before + 1, "the count", 60
    )


def test_discard_says_so_without_a_word_of_the_answer(
    discarding: Server, leaks: Detector
) -> None:
    with _plain(discarding) as client:
        assert client.post(CHAT, json=said(WORDS)).status_code == 200
    wait_for(lambda: "Answered to nobody" in discarding.log, "the line", 60)
    assert "SG_KEYLESS_REQUESTS=discard" in discarding.log
    assert leaks.find(discarding.log.encode()) == []


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_discard_answers_who_has_a_key(
    discarding: Server, identity: Identity, profile: str
) -> None:
    with protected_client(
        identity=identity.fingerprint,
        profile=profile,
        library="httpx2",
        base_url=discarding.url,
        timeout=TIMEOUT_S,
    ) as client:
        answer = client.post(CHAT, json=said(WORDS))
    assert answer.extensions["output_protection"].mark is Mark.OPENED
    (choice,) = answer.json()["choices"]
    assert choice["message"]["content"] == answer_to(WORDS)


@pytest.fixture(scope="module")
def passed(folder: Path, identity: Identity) -> tuple[set[str], str]:
    """Run every check in one process; one that fails hides those after it."""
    run = subprocess.run(
        [sys.executable, "-m", f"{__package__}.keyless_checks", *CHECKS],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=ROOT,
        env={**os.environ, "SG_IDENTITY_KEY_FILE": str(identity.path)},
    )
    return set(run.stdout.split()), run.stderr


def test_there_are_checks() -> None:
    assert len(CHECKS) >= 2


@pytest.mark.parametrize("check", CHECKS)
def test_installed(check: str, passed: tuple[set[str], str]) -> None:
    names, errors = passed
    assert check in names, errors[-4000:]
