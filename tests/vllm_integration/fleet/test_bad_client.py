"""A client that floods the router with malformed requests, beside one that asks well."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from stainedglass_output_protection.client.verdict import EXTENSION, Mark
from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.protocol.key_document import KeyDocument
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.fleet.conftest import MakeClient
from tests.vllm_integration.fleet.malformed import CHAT, KINDS, Bad, Maker
from tests.vllm_integration.fleet.replicas import (
    Answered,
    Watch,
    prompt_tokens,
    wait_for_prompt_tokens,
)
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.servers import MODEL, Server

pytestmark = pytest.mark.vllm

A_SECOND = 50
SECONDS = 10
AT_ONCE = 2
CANARY = BY_NAME["canary"]


class BadClient:
    """Sends bad requests, 50 a second if the machine can, and keeps what came back."""

    def __init__(self, router: Router) -> None:
        self._port = router.port
        self.statuses: dict[str, Counter[int]] = {kind: Counter() for kind in KINDS}
        self.unexpected: list[tuple[str, int, bytes]] = []

    def send_all(self) -> None:
        """Send them all, from a few connections at once."""
        began = time.monotonic()
        numbers = range(A_SECOND * SECONDS)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            parts = [numbers[at::AT_ONCE] for at in range(AT_ONCE)]
            list(pool.map(self._send_part, parts, [began] * AT_ONCE))

    def _send_part(self, numbers: range, began: float) -> None:
        maker = Maker(numbers[0])
        kinds = list(KINDS)
        for turn, number in enumerate(numbers):
            if turn % (A_SECOND // AT_ONCE) == 0:  # Once a second.
                maker.document = self._document()
            time.sleep(max(0.0, began + number / A_SECOND - time.monotonic()))
            kind = kinds[number % len(kinds)]
            bad = maker.make(kind)
            status, body = self._send(bad)
            self.statuses[kind][status] += 1
            if status not in bad.statuses:
                self.unexpected.append((kind, status, body[:200]))

    def _document(self) -> KeyDocument:
        with self._connection() as connection:
            connection.request("GET", DOCUMENT_PATH)
            answer = json.loads(connection.getresponse().read())
        return KeyDocument.from_text(answer["document"])

    def _send(self, bad: Bad) -> tuple[int, bytes]:
        # A connection for each: some are so bad that it is closed after them.
        with self._connection() as connection:
            # Who refuses early does not read to the end.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", bad.path, bad.body, bad.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=TIMEOUT_S
        )
        with contextlib.closing(connection):
            yield connection


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
    bad, good = BadClient(router), GoodClient(router, make_client)
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
