"""A router before two replicas of one identity whose fleets' secrets differ.

What one client of it was told, and what the two servers have noted of that meanwhile.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import openai

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import EXTENSION, Mark, Verdict
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.attacks.relay import Relay
from tests.vllm_integration.fleet.crowd import Asked, Crowd
from tests.vllm_integration.fleet.replicas import Answered, Watch
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.fleet.test_other_secret.noted import Noted, noted
from tests.vllm_integration.servers import Server, wait_for

# Kinds of answers in turn, by fives as streams and whole.
REQUESTS = 20


@dataclass(frozen=True)
class Told:
    """What a client was told, and what each server answered and noted meanwhile."""

    asked: list[Asked]
    marks: Counter[Mark]
    on_the_wire: int
    answered: list[Counter[Answered]]
    noted: list[Noted]

    @property
    def refused(self) -> list[Asked]:
        """What ended in an error."""
        return [it for it in self.asked if it.error is not None]

    @property
    def right(self) -> list[Asked]:
        """What was answered rightly, to the last word."""
        return [it for it in self.asked if it.is_right]

    def statuses(self) -> list[Counter[int]]:
        """Return how often each replica has answered a POST with which status."""
        found = [Counter[int]() for _ in self.answered]
        for statuses, answered in zip(found, self.answered, strict=True):
            for line, count in answered.items():
                statuses[line.status] += count if line.method == "POST" else 0
        return [Counter({it: n for it, n in one.items() if n}) for one in found]


@dataclass
class TwoSecrets:
    """The replicas, their router, and a relay between it and the clients."""

    replicas: tuple[Server, Server]
    router: Router
    relay: Relay

    def ask(self, count: int, *, identity: str, profile: str) -> Told:
        """Ask so often, one after the other, with the SDK's retries as they come."""
        verdicts: list[Verdict] = []

        def note(response: Any) -> None:
            verdicts.append(response.extensions[EXTENSION])

        watch = Watch(self.replicas)
        before, sent = [noted(it) for it in self.replicas], len(self.relay.sealed)
        with protected_client(
            identity=identity,
            profile=profile,
            base_url=self.relay.url,
            timeout=TIMEOUT_S,
            event_hooks={"response": [note]},
        ) as http_client:
            client = openai.OpenAI(
                base_url=f"{self.relay.url}/v1",
                api_key="none",
                http_client=http_client,
            )
            asked = Crowd([client], verdicts).ask(count)
        sent = len(self.relay.sealed) - sent

        def since() -> list[Noted]:
            pairs = zip(self.replicas, before, strict=True)
            return [noted(server) - earlier for server, earlier in pairs]

        # They count when an answer is over.
        wait_for(
            lambda: sum(it.requests for it in since()) >= sent, "the counts", TIMEOUT_S
        )
        right = sum(it.is_right for it in asked)
        wait_for(
            lambda: sum(it.ran for it in since()) >= right, "the engines", TIMEOUT_S
        )
        marks = Counter(it.mark for it in verdicts)
        return Told(asked, marks, sent, watch.by_replica(), since())
