"""Asks a server for its metrics, every second."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT_S = 120.0


class Scraper:
    """Asks for ``/metrics`` every second, over a new connection each time."""

    def __init__(self, url: str) -> None:
        self.scrapes: list[dict[str, Any]] = []
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def latest(self) -> dict[str, Any]:
        """The last scrape."""
        return self.scrapes[-1]

    def __enter__(self) -> Scraper:
        self._began = time.time()
        self.scrapes.append(self._scrape())
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            self.scrapes.append(self._scrape())

    def _scrape(self) -> dict[str, Any]:
        text = httpx2.get(f"{self._url}/metrics", timeout=_TIMEOUT_S).text
        now = time.time()
        found: dict[str, Any] = {"at_s": now - self._began, "outcomes": {}, "seal": {}}
        sums: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("output_protection_")
                if name == sample.name:
                    continue
                if name == "requests_total":
                    outcome = sample.labels["outcome"]
                    found["outcomes"].setdefault(outcome, 0)
                    found["outcomes"][outcome] += sample.value
                elif name == "seal_seconds_bucket":
                    found["seal"][sample.labels["le"]] = sample.value
                elif name != "refusals_total":
                    sums[name] += sample.value
        found["bytes_in"] = sums["request_bytes_total"]
        found["bytes_out"] = sums["response_bytes_total"]
        found["live_keys"] = sums["live_keys"]
        found["key_age_s"] = now - sums["key_start_timestamp_seconds"]
        return found
