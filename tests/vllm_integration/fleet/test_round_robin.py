"""Sealed requests through a router that deals them to replicas, one after the other."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from stainedglass_output_protection.client.verdict import EXTENSION, Mark, Verdict
from tests.tiny_dialogues import BY_NAME, Dialogue
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.fleet.conftest import MakeClient
from tests.vllm_integration.fleet.replicas import Answered, Watch
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.test_sdk import Said, ask

pytestmark = pytest.mark.vllm

CLIENTS = 10
REQUESTS_EACH = 20
AT_ONCE = 4
# Of 200; documents are dealt like requests, so the shares need not be equal.
LEAST_SHARE = 60
# Each kind of answer, the long ones left out.
_SHORT = [
    BY_NAME[name]
    for name in ("canary", "tool_call", "system", "completion", "tool_result")
]


def test_two_hundred_requests_succeed_at_once_while_keys_change_every_second(
    router: Router, identity: Identity, watch: Watch, make_client: MakeClient
) -> None:
    verdicts: list[Verdict] = []
    asked: Counter[Answered] = Counter()

    def note(response: Any) -> None:
        verdicts.append(response.extensions[EXTENSION])

    def ask_in_turn(number: int) -> None:
        http_client = make_client(event_hooks={"response": [note]})
        # Its retries are on, as they come: what it sends again is counted, too.
        client = openai.OpenAI(
            base_url=f"{router.url}/v1", api_key="none", http_client=http_client
        )
        for turn in range(number, number + REQUESTS_EACH):
            dialogue = _SHORT[turn % len(_SHORT)]
            _ask(client, dialogue, stream=turn % 2 == 0)
            asked[Answered("POST", dialogue.request("")[0], 200)] += 1

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(ask_in_turn, range(CLIENTS)))

    assert sum(asked.values()) == CLIENTS * REQUESTS_EACH
    assert watch.posts() == asked
    assert set(watch.documents()) == {200}
    assert {verdict.mark for verdict in verdicts} == {Mark.OPENED}
    assert {verdict.identity for verdict in verdicts} == {identity.fingerprint}
    assert len({verdict.key_id for verdict in verdicts}) > 2
    shares = [
        sum(n for line, n in answered.items() if line.method == "POST")
        for answered in watch.by_replica()
    ]
    assert min(shares) >= LEAST_SHARE
    assert router.troubles() == {}


def _ask(client: openai.OpenAI, dialogue: Dialogue, *, stream: bool) -> None:
    said = Said()
    answer = ask(client, dialogue, stream=stream)
    for part in answer if stream else [answer]:
        for choice in part.choices:
            if dialogue.prompt is not None:
                said.content += choice.text
            else:
                said.add(choice.delta if stream else choice.message)
            said.finish_reason = choice.finish_reason or said.finish_reason
    said.check(dialogue)
