"""Measure ``sg-vllm sidecar``: ``python -m benchmarks.sidecar [--quick] [--json]``.

Beside the same engine protected in its process and the plain one, in one run: that
clients read the same bytes, the CPU time for each streamed event, and how late events
come. Engines, sidecar and load are processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.sidecar_load import PERIOD_S, body_of, cpu_s, many_streams
from benchmarks.sidecar_processes import PATH, Ways, all_processes
from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.protocol.keys import ClientKeyPair

STREAMS = 32
EVENTS = 100
ROUNDS = 5
_NAMES = {"plain": "unprotected", "in_process": "in its process", "sidecar": "sidecar"}
_PROFILES = ("sealed", "output")
_TIMEOUT_S = 120.0


def require_same_bytes(ways: Ways, *, events: int) -> None:
    """Refuse to go on if a client of either way does not read what the engine says."""
    body = body_of(events, time.monotonic(), period_s=0.0)
    headers = {"content-type": "application/json"}
    near: dict[str, Any] = {"trust_env": False, "timeout": _TIMEOUT_S}
    with httpx2.Client(**near) as plain:
        url = f"http://127.0.0.1:{ways.plain.port}{PATH}"
        expected = plain.post(url, content=body, headers=headers).content
    if not expected.endswith(b"data: [DONE]\n\n"):
        raise SystemExit("the engine does not answer as it should")
    for served in (ways.in_process, ways.sidecar):
        for profile in _PROFILES:
            with protected_client(
                identity=ways.identity, profile=profile, **near
            ) as client:
                url = f"http://127.0.0.1:{served.port}{PATH}"
                told = client.post(url, content=body, headers=headers)
            if told.content != expected:
                raise SystemExit("a client reads other bytes than the engine sent")


def measure(
    ways: Ways, *, streams: int, events: int, rounds: int
) -> dict[str, dict[str, Any]]:
    """Return the cost of an event for each way, asked in turn."""
    names = list(_NAMES)
    key = ClientKeyPair.generate().header_value
    spent: dict[str, list[list[float]]] = {name: [] for name in names}
    late_s: dict[str, list[float]] = {name: [] for name in names}
    # The first round warms up.
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            served = getattr(ways, name)
            before = cpu_s(served)
            late = asyncio.run(
                many_streams(served.port, key, count=streams, events=events)
            )
            if number:
                both = zip(cpu_s(served), before, strict=True)
                spent[name].append([now - then for now, then in both])
                late_s[name].append(statistics.fmean(late))
    count = streams * events * rounds
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        parts = [sum(part) * 1e6 / count for part in zip(*spent[name], strict=True)]
        found[name] = {
            "cpu_us": round(sum(parts), 1),
            "cpu_us_of_each_process": [round(part, 1) for part in parts],
            "late_ms": round(statistics.median(late_s[name]) * 1e3, 3),
        }
    plain = found["plain"]
    for row in found.values():
        row["cpu_ratio"] = round(row["cpu_us"] / max(plain["cpu_us"], 0.1), 2)
        row["late_ratio"] = round(row["late_ms"] / plain["late_ms"], 2)
    return found


def table(found: dict[str, Any]) -> str:
    """Return the measurements as text."""
    lines = [
        f"{found['streams']} streams at once, an event of each every "
        f"{PERIOD_S * 1e3:g} ms, {found['events']} events, {found['rounds']} rounds. "
        "Clients of all read the same bytes.",
        f"  {'':16}CPU for an event       an event comes after",
    ]
    for name, row in found["ways"].items():
        parts = row["cpu_us_of_each_process"]
        shown = f" = engine {parts[0]} + sidecar {parts[1]}" if len(parts) > 1 else ""
        lines.append(
            f"  {_NAMES[name]:16}{row['cpu_us']:7.1f} us  x {row['cpu_ratio']:.2f}   "
            f"{row['late_ms']:7.3f} ms  x {row['late_ratio']:.2f}{shown}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sidecar")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--quick", action="store_true", help="seconds, numbers mean little"
    )
    options = parser.parse_args(arguments)
    if not Path("/proc/self/stat").exists():
        parser.error("it reads CPU times from /proc, so it needs Linux")
    streams, events, rounds = (4, 10, 1) if options.quick else (STREAMS, EVENTS, ROUNDS)
    with tempfile.TemporaryDirectory() as folder, all_processes(Path(folder)) as ways:
        require_same_bytes(ways, events=events)
        rows = measure(ways, streams=streams, events=events, rounds=rounds)
    found = {"streams": streams, "events": events, "rounds": rounds, "ways": rows}
    print(json.dumps(found, indent=2) if options.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
