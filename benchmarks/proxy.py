"""Measure ``sg-vllm proxy``: ``python -m benchmarks.proxy [--quick] [--json]``.

Beside a do-nothing reverse proxy, in one run: the time to the first event that each
adds to asking the unprotected server directly, and how late the events of many
concurrent streams come. Server, proxies and load are processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.proxy_load import Connection, many_streams
from benchmarks.proxy_processes import Processes, all_processes

TARGET_ADDED_MS = 3.0
TARGET_OVER_NOTHING = 2.0
TARGET_LATENESS = 2.0
PAIRS = 200
STREAMS = 500
EVENTS = 60
_WARM_UP = 20


def measure_first_event(at: Processes, *, pairs: int) -> dict[str, Any]:
    """Return what both proxies add to the first event, one request at a time."""
    connections = {
        "direct": Connection(at.plain),
        "nothing": Connection(at.nothing),
        "proxy": Connection(at.proxy),
    }
    taken: dict[str, list[float]] = {name: [] for name in connections}
    names = list(connections)
    for number in range(pairs + _WARM_UP):
        # Whoever comes first has the colder caches.
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            taken[name].append(connections[name].first_event_ms())

    for connection in connections.values():
        connection.close()

    def added(name: str) -> float:
        both = zip(taken[name][_WARM_UP:], taken["direct"][_WARM_UP:], strict=True)
        return statistics.median(through - direct for through, direct in both)

    proxy_ms, nothing_ms = added("proxy"), added("nothing")
    limit_ms = max(TARGET_ADDED_MS, TARGET_OVER_NOTHING * nothing_ms)
    return {
        "pairs": pairs,
        "direct_ms": round(statistics.median(taken["direct"][_WARM_UP:]), 3),
        "added_ms": round(proxy_ms, 3),
        "added_by_nothing_ms": round(nothing_ms, 3),
        "limit_ms": round(limit_ms, 3),
        "met": proxy_ms <= limit_ms,
    }


def measure_streams(at: Processes, *, count: int, events: int) -> dict[str, Any]:
    """Return how late events come, through the proxy, the other one, and neither."""
    direct = asyncio.run(_lateness(at.plain, count, events))
    nothing = asyncio.run(_lateness(at.nothing, count, events))
    proxy = asyncio.run(_lateness(at.proxy, count, events))
    ratio = proxy["worst_ms"] / nothing["worst_ms"]
    return {
        "streams": count,
        "events": events,
        "proxy": proxy,
        "nothing": nothing,
        "direct": direct,
        "ratio": round(ratio, 3),
        "met": proxy["whole"] == nothing["whole"] == count and ratio <= TARGET_LATENESS,
    }


async def _lateness(port: int, count: int, events: int) -> dict[str, Any]:
    streams = await many_streams(port, count=count, events=events)
    delays = sorted(delay * 1e3 for stream in streams for delay in stream.delays_s)
    return {
        "whole": sum(stream.is_whole for stream in streams),
        "median_ms": round(statistics.median(delays), 2),
        "p99_ms": round(delays[len(delays) * 99 // 100], 2),
        "worst_ms": round(delays[-1], 2),
    }


def table(found: dict[str, Any]) -> str:
    """Return the measurements as text."""
    first, many = found["first_event"], found["streams"]
    missed = {True: "", False: "  MISSED"}
    lines = [
        f"First event, median of {first['pairs']} pairs at concurrency 1: at most "
        f"{TARGET_ADDED_MS:g} ms added, or {TARGET_OVER_NOTHING:g} times what a "
        "do-nothing reverse proxy adds",
        f"  proxy {first['added_ms']} ms, do-nothing {first['added_by_nothing_ms']} ms, "
        f"to {first['direct_ms']} ms{missed[first['met']]}",
        f"{many['streams']} streams of {many['events']} events, 5 a second: all whole, "
        f"the latest event at most {TARGET_LATENESS:g} times as late",
        *(
            f"  {name}: {many[key]['whole']} whole; late by {many[key]['median_ms']} ms "
            f"(median), {many[key]['p99_ms']} (99 %), {many[key]['worst_ms']} (worst)"
            for name, key in (
                ("proxy", "proxy"),
                ("do-nothing", "nothing"),
                ("no proxy", "direct"),
            )
        ),
        f"  worst over the do-nothing proxy's worst: {many['ratio']}{missed[many['met']]}",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxy")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="seconds, no verdict")
    options = parser.parse_args(arguments)
    pairs, count, events = (5, 10, 5) if options.quick else (PAIRS, STREAMS, EVENTS)
    with all_processes() as at:
        found = {
            "first_event": measure_first_event(at, pairs=pairs),
            "streams": measure_streams(at, count=count, events=events),
        }
    print(json.dumps(found, indent=2) if options.json else table(found))
    is_met = all(part["met"] for part in found.values())
    return 0 if options.quick or is_met else 1


if __name__ == "__main__":
    sys.exit(main())
