"""The picture's four panels, from the scrapes of one run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from draw_metrics_chart import Panel, Points, document, ticks

_BLUE, _ORANGE, _GREY, _GREEN = "#0969da", "#d9730d", "#8c959f", "#1a7f37"
_BIN_S = 2
# Over which a rate is taken, as Prometheus does it.
_WINDOW_S = 10
_QUIET_S = 1e-9

Scrapes = list[dict[str, Any]]


def picture(run: dict[str, Any]) -> str:
    """Return the run as SVG."""
    scrapes: Scrapes = run["scrapes"]
    end = float(max(int(scrapes[-1]["at_s"] // 10 + 1) * 10, 10))
    sent = run["sent"]
    counts = ", ".join(f"{sent[name]} {name}" for name in sorted(sent, reverse=True))
    words = (
        f"One run: {sum(sent.values())} requests ({counts}), counted by the clients on the "
        "wire and by the two API servers: the same."
    )
    panels = [
        _requests(scrapes, end),
        _sealing(scrapes, end),
        _bytes(scrapes, end),
        _keys(scrapes, end, run["rotated_at_s"]),
    ]
    return document(panels, words, f"Metrics of a server over {end:.0f} s. {words}")


def _requests(scrapes: Scrapes, end: float) -> Panel:
    series = []
    for name, colour in (("sealed", _BLUE), ("refused", _ORANGE), ("cut", _GREY)):
        heights = [0.0] * int(end / _BIN_S)
        for before, after in pairwise(scrapes):
            more = after["outcomes"].get(name, 0) - before["outcomes"].get(name, 0)
            heights[min(int(after["at_s"] / _BIN_S), len(heights) - 1)] += more / _BIN_S
        series.append((name, colour, heights))
    marks = ticks(max(map(sum, zip(*(it for *_, it in series), strict=True))))
    panel = Panel("Requests that ended", "requests per second", end, marks[-1], marks)
    panel.bars(_BIN_S, series)
    return panel


def _sealing(scrapes: Scrapes, end: float) -> Panel:
    lines = {
        share: [
            (at_s, 1000 * value)
            for at_s, more in _windows(scrapes, "seal")
            if (value := _quantile(share, more)) is not None
        ]
        for share in (0.5, 0.99)
    }
    marks = ticks(max(value for points in lines.values() for _, value in points))
    panel = Panel(
        "Time to seal the beginning of an answer", "milliseconds", end, marks[-1], marks
    )
    panel.line("99th percentile", _ORANGE, lines[0.99])
    panel.line("median", _BLUE, lines[0.5])
    return panel


def _bytes(scrapes: Scrapes, end: float) -> Panel:
    lines: dict[str, Points] = {}
    for name in ("bytes_out", "bytes_in"):
        lines[name] = [
            (
                now["at_s"],
                (now[name] - then[name]) / 1000 / (now["at_s"] - then["at_s"]),
            )
            for then, now in _pairs(scrapes)
        ]
    marks = ticks(max(value for points in lines.values() for _, value in points))
    panel = Panel("Bodies on the wire", "kB per second", end, marks[-1], marks)
    panel.line("answers", _BLUE, lines["bytes_out"])
    panel.line("requests", _ORANGE, lines["bytes_in"])
    return panel


def _keys(scrapes: Scrapes, end: float, rotated_at_s: float) -> Panel:
    oldest = max(scrape["key_age_s"] for scrape in scrapes)
    most = int(max(scrape["live_keys"] for scrape in scrapes))
    # Keys are drawn above the ages, with room for both.
    marks = ticks(oldest)
    unit = marks[1]
    floor = marks[-1]
    panel = Panel(
        "Key age and live keys", "seconds", end, floor + (most + 1) * unit, marks
    )
    panel.mark(rotated_at_s, "SIGUSR1")
    panel.line(
        "age of the key that answers",
        _BLUE,
        [(it["at_s"], max(0, it["key_age_s"])) for it in scrapes],
    )
    panel.steps(
        "live keys",
        _GREEN,
        [(it["at_s"], floor + unit * it["live_keys"]) for it in scrapes],
    )
    for count in sorted({int(it["live_keys"]) for it in scrapes}):
        words = f"{count} key{'s' if count != 1 else ''}"
        panel.right_tick(floor + unit * count, _GREEN, words)
    return panel


def _pairs(scrapes: Scrapes) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each scrape with the one that came a window before it."""
    found = []
    for at, now in enumerate(scrapes):
        earlier = [it for it in scrapes[:at] if it["at_s"] <= now["at_s"] - _WINDOW_S]
        if earlier:
            found.append((earlier[-1], now))
    return found


def _windows(scrapes: Scrapes, name: str) -> list[tuple[float, dict[float, float]]]:
    return [
        (
            now["at_s"],
            {
                float(bound): count - then[name].get(bound, 0)
                for bound, count in now[name].items()
            },
        )
        for then, now in _pairs(scrapes)
    ]


def _quantile(share: float, more: dict[float, float]) -> float | None:
    """Return what Prometheus' ``histogram_quantile`` does, or nothing without answers."""
    bounds = sorted(more)
    if not bounds or more[bounds[-1]] <= _QUIET_S:
        return None
    wanted, lower, below = share * more[bounds[-1]], 0.0, 0.0
    for bound in bounds[:-1]:
        if more[bound] >= wanted:
            part = (wanted - below) / (more[bound] - below)
            return lower + (bound - lower) * part
        lower, below = bound, more[bound]
    return lower
