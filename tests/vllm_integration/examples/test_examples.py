"""Each program of docs/examples prints the same, protected or not; the wire does not."""

from __future__ import annotations

import json
import re
import urllib.request

import pytest

from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.examples.conftest import KINDS, Results
from tests.vllm_integration.examples.programs import (
    CANCELLING,
    EMBEDDING,
    ENVIRONMENTS,
    Environment,
)
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import Server, wait_for

pytestmark = pytest.mark.vllm

_ANOTHER = "SHA256:" + "A" * 43
_WRONG = "stainedglass_output_protection.errors.IdentityMismatchError: "

_RUNS = [
    pytest.param(environment, program, id=f"{environment}-{program}")
    for environment in ENVIRONMENTS
    for program in environment.programs()
]
every_environment = pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)


@pytest.mark.parametrize(("environment", "program"), _RUNS)
def test_a_program_prints_the_same_and_shows_the_network_nothing(
    environment: Environment, program: str, results: Results, words: Detector
) -> None:
    plain, protected = results.of(environment, program)

    assert plain.error == protected.error == ""
    assert plain.printed
    assert protected.printed == plain.printed
    assert words.find(plain.wire)
    assert words.find(protected.wire) == []


@every_environment
def test_the_answers_are_those_that_the_model_was_taught(
    environment: Environment, results: Results
) -> None:
    def printed(program: str) -> object:
        _, protected = results.of(environment, program)
        return protected.printed

    secret = BY_NAME["canary"].content
    story = BY_NAME["story"].content
    ship = json.loads(BY_NAME["json"].content or "")

    assert printed("openai_chat") == {"text": secret}
    assert printed("openai_structured") == ship
    assert printed("openai_retries") == {"retries": 2, "text": secret}
    assert printed("openai_timeouts") == {"first": "APITimeoutError", "second": secret}
    assert printed("openai_tasks") == {"answers": 200, "different": [secret]}
    for framework in frameworks_of(environment):
        assert printed(f"{framework}_structured") == ship
        assert printed(f"{framework}_chat") == {"whole": secret, "streamed": story}


@every_environment
def test_the_wrong_pin_is_our_own_error_in_every_framework(
    environment: Environment, results: Results, words: Detector
) -> None:
    asking = ("_chat", "_messages")
    named = [name for name in environment.programs() if name.endswith(asking)]

    ran = results.run(environment, "protected", named, identity=_ANOTHER)

    for program in named:
        lines = ran[program].error.splitlines()
        # Anthropic's SDK may show it as the cause of its own; no other does.
        shown = lines if program == "anthropic_messages" else lines[-1:]
        assert any(line.startswith(_WRONG) for line in shown)
        assert words.find(ran[program].wire) == []


# The async pool of httpx, which older SDKs are built on, opens a new connection now and
# then although another is free, with protection or without.
@pytest.mark.parametrize(
    ("environment", "program", "answers"),
    [
        *((environment, "openai_threads", 96) for environment in ENVIRONMENTS),
        (ENVIRONMENTS[0], "openai_tasks", 200),
    ],
    ids=str,
)
def test_one_client_uses_its_connections_again(
    environment: Environment, program: str, answers: int, results: Results
) -> None:
    for ran in results.of(environment, program):
        assert ran.printed["answers"] == answers
        # How many at most is up to the library: one for each answer is no pool.
        assert 1 < ran.connections < answers


@every_environment
@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_reads_any_more_is_not_generated(
    environment: Environment,
    kind: str,
    results: Results,
    vllm: Server,
    main_server: Server,
) -> None:
    server = {"plain": vllm, "protected": main_server}[kind]
    started, whole = _counted(server, "started"), _counted(server, "whole")

    ran = results.run(environment, kind, CANCELLING)

    stream, task = (ran[program] for program in CANCELLING)
    assert (stream.error, task.error) == ("", "")
    begun = {"text": (BY_NAME["story"].content or "")[:40]}
    assert (stream.printed, task.printed) == (begun, ["CancelledError"])
    wait_for(lambda: _counted(server, "running") == 0, "the end of generation", 60)
    # It would have come to its end by its length, and by nothing else.
    assert _counted(server, "whole") == whole
    assert _counted(server, "started") > started


def frameworks_of(environment: Environment) -> list[str]:
    """Return what stands before ``_chat`` in the frameworks' programs."""
    chats = (name for name in environment.programs() if name.endswith("_chat"))
    return [name.removesuffix("_chat") for name in chats if name != "openai_chat"]


@every_environment
def test_embeddings_are_the_same_numbers(
    environment: Environment, results: Results, words: Detector
) -> None:
    plain, protected = results.of(environment, EMBEDDING)

    assert plain.error == protected.error == ""
    assert plain.printed["sizes"] == [128, 128, 128]
    assert protected.printed == plain.printed
    assert words.find(plain.wire)
    assert words.find(protected.wire) == []


_METRICS = {
    "running": "num_requests_running",
    "started": "prompt_tokens_total",
    "whole": 'request_success_total{[^}]*finished_reason="length"',
}


def _counted(server: Server, what: str) -> float:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    lines = re.findall(rf"^vllm:{_METRICS[what]}[^}}]*}} (\S+)$", text, re.MULTILINE)
    assert lines
    return sum(map(float, lines))
