"""What replicas have answered, by their access logs, and what their engines have read."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from tests.vllm_integration.servers import Server, wait_for

_LINE = re.compile(r'"(\w+) (\S+) HTTP/1\.1" (\d{3})')
_PROMPT_TOKENS = re.compile(r"^vllm:prompt_tokens_total(?:{.*})? (\S+)$", re.M)


class Answered(NamedTuple):
    """A line of an access log."""

    method: str
    path: str
    status: int


class Watch:
    """What each of ``replicas`` answers from now on.

    Probes and questions for metrics are left out. Whatever is sent once more, by client,
    SDK or router, is a line more.
    """

    def __init__(self, replicas: Sequence[Server]) -> None:
        self._replicas = replicas
        self._seen = [len(_lines(server)) for server in replicas]

    def by_replica(self) -> list[Counter[Answered]]:
        """Return how often each replica has answered what."""
        return [
            Counter(_lines(server)[seen:])
            for server, seen in zip(self._replicas, self._seen, strict=True)
        ]

    def posts(self) -> Counter[Answered]:
        """Return how often all together have answered which POST."""
        found = sum(self.by_replica(), Counter[Answered]())
        return Counter({line: n for line, n in found.items() if line.method == "POST"})

    def documents(self) -> Counter[int]:
        """Return how often all together were asked for a key document, by status."""
        found = sum(self.by_replica(), Counter[Answered]())
        return Counter(
            {line.status: n for line, n in found.items() if line.method == "GET"}
        )


def prompt_tokens(replicas: Sequence[Server]) -> int:
    """Return how many tokens of prompts the engines have read."""
    return sum(map(_prompt_tokens_of, replicas))


def wait_for_prompt_tokens(replicas: Sequence[Server], expected: int) -> None:
    """Wait until the engines have counted so many; they count when an answer is over."""
    wait_for(
        lambda: prompt_tokens(replicas) >= expected, "the engines' count", limit_s=60
    )


def _prompt_tokens_of(server: Server) -> int:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as answer:
        counts = _PROMPT_TOKENS.findall(answer.read().decode())
    assert counts
    return round(sum(map(float, counts)))


def _lines(server: Server) -> list[Answered]:
    found = [
        Answered(method, path.partition("?")[0], int(status))
        for method, path, status in _LINE.findall(server.log)
    ]
    return [it for it in found if it.method == "POST" or it.path == DOCUMENT_PATH]
