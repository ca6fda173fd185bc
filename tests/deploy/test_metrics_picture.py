"""The picture of the metrics, and the script that draws it: it draws what adds up only."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.vllm_integration.servers import Server

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "assets" / "metrics.svg"
SVG = "{http://www.w3.org/2000/svg}"
SENT = {"sealed": 4, "refused": 1}
LOG = (
    "(ApiServer_{} pid=1) INFO request id=5f0c route=/x status=200 outcome={} code=-\n"
)


def texts(svg: str) -> list[str]:
    return [it.text or "" for it in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def a_scrape(at_s: float, sealed: int, **other: Any) -> dict[str, Any]:
    return {
        "at_s": at_s,
        "outcomes": {"sealed": sealed, "refused": 1},
        "seal": {"0.001": sealed / 2, "0.01": sealed, "+Inf": sealed},
        "bytes_in": 1000 * sealed,
        "bytes_out": 5000 * sealed,
        "live_keys": 2,
        "key_age_s": at_s % 30,
        **other,
    }


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Loads a module of the scripts."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module


def test_the_picture_needs_nothing_from_elsewhere_and_adds_up() -> None:
    svg = PICTURE.read_text(encoding="utf-8")
    assert not re.search(r"href|url\(|@import|<script", svg)
    words = texts(svg)
    for unit in ("requests per second", "milliseconds", "kB per second", "seconds"):
        assert unit in words
    found = re.search(r"One run: (\d+) requests \((.+?)\)", words[-1])
    assert found
    counts = [int(it) for it in re.findall(r"(\d+) \w+", found[2])]
    assert sum(counts) == int(found[1]) > 100
    assert len(counts) == 3


def test_the_page_shows_the_picture() -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    assert "(assets/metrics.svg)" in page


def test_what_was_measured_is_drawn(load: Callable[[str], Any]) -> None:
    scrapes = [a_scrape(float(at), 10 * at) for at in range(60)]
    scrapes += [a_scrape(60.0, 600, live_keys=3, key_age_s=0)]
    run = {"sent": SENT, "rotated_at_s": 59, "scrapes": scrapes}
    svg = load("draw_metrics_panels").picture(run)
    words = texts(svg)
    assert {"2 keys", "3 keys", "SIGUSR1"} <= set(words)
    lines = [
        [float(point.split(",")[1]) for point in line.get("points", "").split()]
        for line in ElementTree.fromstring(svg).iter(f"{SVG}polyline")
    ]
    _, _, answers, requests, age, _ = lines
    # Five bytes out for each one in, at every second; y is counted from above.
    foot = max(age)
    assert {
        round((foot - y) / (foot - x), 1)
        for x, y in zip(requests, answers, strict=True)
    } == {5}
    assert age[-1] == foot
    assert any("5 requests (4 sealed, 1 refused)" in it for it in words)


def test_quantiles_are_prometheus_own(load: Callable[[str], Any]) -> None:
    quantile = load("draw_metrics_panels")._quantile
    more = {0.001: 5.0, 0.01: 10.0, float("inf"): 10.0}
    assert quantile(0.5, more) == pytest.approx(0.001)
    assert quantile(0.75, more) == pytest.approx(0.0055)
    # What lies above the last bound is told as that bound.
    assert quantile(0.99, {0.001: 0.0, float("inf"): 3.0}) == pytest.approx(0.001)
    assert quantile(0.5, {0.001: 0.0, float("inf"): 0.0}) is None


@pytest.mark.parametrize(
    ("lines", "counts", "is_good"),
    [
        (["0 sealed", "1 sealed", "1 sealed", "0 sealed", "1 refused"], (2, 4), True),
        (["0 sealed", "1 sealed", "1 sealed", "1 refused"], (2, 4), False),
        (["0 sealed"] * 4 + ["0 refused"], (2, 4), False),
        (["0 sealed", "1 sealed", "1 sealed", "0 sealed", "1 refused"], (4, 2), False),
    ],
    ids=["adds up", "a line is missing", "one process only", "a count goes down"],
)
def test_nothing_is_drawn_that_does_not_add_up(
    load: Callable[[str], Any],
    tmp_path: Path,
    lines: list[str],
    counts: tuple[int, int],
    is_good: bool,
) -> None:
    log_path = tmp_path / "server.log"
    log_path.write_text("".join(LOG.format(*line.split()) for line in lines))
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        server = Server(1, process, log_path)
        scrapes = [a_scrape(float(at), count) for at, count in enumerate(counts)]
        check = load("draw_metrics").check
        if is_good:
            check(server, scrapes, SENT)
        else:
            with pytest.raises(SystemExit, match="draw-metrics: the "):
                check(server, scrapes, SENT)
