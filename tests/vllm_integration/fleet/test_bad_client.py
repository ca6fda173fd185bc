"""A client that floods the router with malformed requests, beside one that asks well."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from stainedglass_output_protection.client.verdict import EXTENSION, Mark
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.fleet.bad_client import A_SECOND, SECONDS, BadClient
from tests.vllm_integration.fleet.conftest import MakeClient
from tests.vllm_integration.fleet.malformed import CHAT
from tests.vllm_integration.fleet.replicas import (
    Answered,
    Watch,
    prompt_tokens,
    wait_for_prompt_tokens,
)
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.servers import MODEL, Server

pytestmark = pytest.mark.vllm

CANARY = BY_NAME["canary"]


class GoodClient:
    """Asks one question after the other until it is told to stop."""

    def __init__(self, router: Router, make_client: MakeClient) -> None:
        self.marks: Counter[Mark] = Counter()
        self.said: list[str | None] = []
        self.prompt_tokens = 0
        self._client = openai.OpenAI(
            base_url=f"{router.url}/v1",
            api_key="none",
            http_client=make_client(event_hooks={"response": [self._note]}),
        )

    def ask_until(self, is_over: threading.Event) -> None:
        """Ask until the end, and at last once for each replica."""
        while not is_over.is_set():
            self._ask()
        for _ in range(2):
            self._ask()

    def _ask(self) -> None:
        _, body = CANARY.request(MODEL)
        answer = self._client.chat.completions.create(**body)
        self.said.append(answer.choices[0].message.content)
        assert answer.usage is not None
        self.prompt_tokens += answer.usage.prompt_tokens

    def _note(self, response: Any) -> None:
        self.marks[response.extensions[EXTENSION].mark] += 1


def test_flood_of_malformed_requests_hurts_nobody_else(
    router: Router,
    replicas: tuple[Server, Server],
    watch: Watch,
    make_client: MakeClient,
) -> None:
    before = prompt_tokens(replicas)
    bad, good = BadClient(router.port), GoodClient(router, make_client)
    is_over = threading.Event()

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(good.ask_until, is_over)
        try:
            bad.send_all()
        finally:
            is_over.set()
        asking.result()

    assert bad.unexpected == []
    statuses = sum(bad.statuses.values(), Counter[int]())
    assert sum(statuses.values()) == A_SECOND * SECONDS
    # A router takes 408 and 429 for a worker's fault.
    assert set(statuses) <= {400, 413, 415, 422, 425, 431}
    assert all(bad.statuses.values())

    assert len(good.said) > 2
    assert set(good.said) == {CANARY.content}
    assert good.marks == {Mark.OPENED: len(good.said)}
    assert watch.posts()[Answered("POST", CHAT, 200)] == len(good.said)

    assert {line.status for line in watch.posts() if line.status >= 500} == set()
    assert router.troubles() == {}
    wait_for_prompt_tokens(replicas, before + good.prompt_tokens)
    assert prompt_tokens(replicas) == before + good.prompt_tokens
