"""A router before two replicas of one identity whose fleets' secrets differ.

What one client of it was told, and what the two servers have noted of that meanwhile.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import EXTENSION, Mark, Verdict
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.attacks.relay import Relay
from tests.vllm_integration.fleet.crowd import Asked, Crowd
from tests.vllm_integration.fleet.replicas import Answered, Watch
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.servers import Server, wait_for
from tests.vllm_integration.test_operating import samples

_SG_VLLM = str(Path(sys.executable).with_name("sg-vllm"))
_REFUSED = re.compile(
    r"request id=\S+ route=\S+ status=422 outcome=refused code=key_unknown "
)
_FINISHED = re.compile(r"^vllm:request_success_total(?:{.*})? (\S+)$", re.M)


@dataclass(frozen=True)
class Noted:
    """What a server has counted until now.

    ``requests`` and ``refused`` are the protection's, ``lines`` those of its log about
    such refusals, ``ran`` how many requests the engine has finished.
    """

    requests: int
    refused: int
    lines: int
    ran: int

    def __sub__(self, other: Noted) -> Noted:
        return Noted(
            self.requests - other.requests,
            self.refused - other.refused,
            self.lines - other.lines,
            self.ran - other.ran,
        )


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


def noted(server: Server) -> Noted:
    """Return what a server has counted until now."""
    text = _metrics_text(server)
    ours = samples(text)
    return Noted(
        requests=round(_sum_of(ours, "requests_total")),
        refused=round(_sum_of(ours, "refusals_total", code="key_unknown")),
        lines=len(_REFUSED.findall(server.log)),
        ran=round(sum(map(float, _FINISHED.findall(text)))),
    )


def epochs_of(server: Server) -> tuple[int, int]:
    """Return the period of a server's epochs and their place in it (milliseconds)."""
    ours = samples(_metrics_text(server))
    period = round(1000 * _sum_of(ours, "key_period_seconds"))
    return period, round(1000 * _sum_of(ours, "key_start_timestamp_seconds")) % period


def doctor(url: str, *, identity: str, profile: str) -> tuple[int, dict[str, Any]]:
    """Run ``sg-vllm doctor`` and return its exit status and its report."""
    options = ("--identity", identity, "--profile", profile)
    limit = ("--timeout", str(round(TIMEOUT_S)))
    done = subprocess.run(
        [_SG_VLLM, "doctor", f"{url}/v1", *options, *limit, "--json"],
        capture_output=True,
        text=True,
        timeout=8 * TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def _metrics_text(server: Server) -> str:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=TIMEOUT_S) as answer:
        text: str = answer.read().decode()
    return text


def _sum_of(found: dict[Any, float], name: str, **labels: str) -> float:
    wanted = frozenset(labels.items())
    return sum(
        value for (it, these), value in found.items() if it == name and wanted <= these
    )
