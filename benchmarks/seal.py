"""Measure the protection: ``python -m benchmarks.seal [--quick] [--json]``.

Prints a table, or JSON, and exits with status 1 if a target is missed. ``--quick`` takes
too few samples for a verdict: it shows that the measurement itself works.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import cost, leakage, size, ttfe
from benchmarks.events import SHAPES

_QUICK_SHAPES = (SHAPES[0], SHAPES[4])


def measure(*, is_quick: bool) -> dict[str, Any]:
    """Run all measurements and return what they found, targets included."""
    started = time.monotonic()
    if is_quick:
        costs = cost.measure_all(rounds=4, shapes=_QUICK_SHAPES)
        leaks = leakage.measure_all(
            tokens=200, events_per_response=50, shapes=_QUICK_SHAPES
        )
        first = ttfe.measure(requests=20)
    else:
        costs = cost.measure_all()
        leaks = leakage.measure_all()
        first = ttfe.measure()
    sizes = size.measure_all(shapes=_QUICK_SHAPES if is_quick else SHAPES)
    verdicts = [
        *(part.is_met for part in costs),
        *(part.is_met for part in sizes),
        *(part.is_met for part in leaks),
        first.is_met,
    ]
    return {
        "met": all(verdicts),
        "took_s": round(time.monotonic() - started, 1),
        "targets": {
            "cost_ratio": round(cost.TARGET_RATIO, 4),
            "cost_ratio_goal": cost.GOAL_RATIO,
            "size_ratio": size.TARGET_RATIOS,
            "leakage_bits": leakage.TARGET_BITS,
            "leakage_changes": leakage.TARGET_CHANGES,
            "first_event_ms": ttfe.TARGET_MS,
        },
        "cost": [part.report() for part in costs],
        "size": [part.report() for part in sizes],
        "leakage": [part.report() for part in leaks],
        "first_event": first.report(),
    }


def table(found: dict[str, Any]) -> str:
    """Return the measurements as text."""
    targets = found["targets"]
    first = found["first_event"]
    lines = [
        f"Cost per event, in do-nothing BaseHTTPMiddlewares: at most "
        f"{targets['cost_ratio']:.3f}, larger events in proportion to their bytes "
        f"({found['cost'][0]['loop']})"
    ]
    lines += [
        f"  {row['shape']:24} {row['ratio']:6.3f} of {row['limit']:.3f}  "
        f"({row['ratio_low']:.3f} to {row['ratio_high']:.3f})  "
        f"{row['protection_us']:6.2f} us against {row['base_http_us']:.2f} us"
        f"{_verdict(row)}"
        for row in found["cost"]
    ]
    limits = ", ".join(f"{at} for {name}" for name, at in targets["size_ratio"].items())
    lines.append(f"Body bytes, protected over plain: at most {limits}")
    lines += [
        f"  {row['shape']:24} {row['ratio']:6.3f}  {row['protected']:8} over "
        f"{row['plain']}{_verdict(row)}"
        for row in found["size"]
    ]
    lines += [
        f"Leakage through sizes: at most {targets['leakage_bits']} bit per event, "
        f"{targets['leakage_changes']} changes per response"
    ]
    lines += [
        f"  {row['shape']:24} {row['tokens_per_event']:>3} tokens  {row['bits']:7.4f} "
        f"bit (+-{row['noise_bits']:.4f}) {row['of_what']:12} {row['changes']} changes"
        f"{_verdict(row)}"
        for row in found["leakage"]
    ]
    lines += [
        f"First event: at most {targets['first_event_ms']} ms of processor time more",
        f"  {first['added_ms']:.3f} ms more (95 % of requests: below "
        f"{first['added_p95_ms']:.3f}){_verdict(first)}",
        f"{'All targets met' if found['met'] else 'A target is MISSED'}, "
        f"{found['took_s']} s",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seal")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="seconds, no verdict")
    options = parser.parse_args(arguments)
    found = measure(is_quick=options.quick)
    print(json.dumps(found, indent=2) if options.json else table(found))
    return 0 if found["met"] or options.quick else 1


def _verdict(row: dict[str, Any]) -> str:
    return "" if row["met"] else "  MISSED"


if __name__ == "__main__":
    sys.exit(main())
