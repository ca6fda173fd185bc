"""What a protected client costs at a program's start, beside the SDK's own start.

    python -m benchmarks.import_cost [--rounds N] [--json]

Starts fresh interpreters in turn: one imports the SDK and makes its client, the other
does the same with a protected client. The median difference of the pairs on the clock
must not exceed 100 ms, which the exit status says; that of their CPU times, which other
work on the machine changes less, stands beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

TARGET_MS = 100.0
_ROUNDS = 21
_PIN = "SHA256:" + "A" * 43
_PROTECTED = "stainedglass_output_protection.client"
_TIMED = """\
import time
began = time.perf_counter(), time.process_time()
{program}
print(time.perf_counter() - began[0], time.process_time() - began[1])
"""


@dataclass(frozen=True)
class Sdk:
    """An SDK's client, and the same one protected, as programs."""

    name: str
    plain: str
    protected: str


SDKS = (
    Sdk(
        "openai",
        "from openai import OpenAI\nOpenAI(api_key='k')",
        f"from openai import OpenAI\nfrom {_PROTECTED} import protected_client\n"
        f"OpenAI(api_key='k', http_client=protected_client(identity='{_PIN}'))",
    ),
    Sdk(
        "openai, async",
        "from openai import AsyncOpenAI\nAsyncOpenAI(api_key='k')",
        "from openai import AsyncOpenAI\n"
        f"from {_PROTECTED} import protected_async_client\n"
        "AsyncOpenAI(api_key='k', "
        f"http_client=protected_async_client(identity='{_PIN}'))",
    ),
)


@dataclass(frozen=True)
class Cost:
    """Milliseconds: medians of the starts, and of the differences of the pairs."""

    sdk: str
    plain_ms: float
    protected_ms: float
    added_ms: float
    added_cpu_ms: float
    met: bool


def measure(sdk: Sdk, rounds: int) -> Cost:
    """Start both programs ``rounds`` times in turn, after one start that warms up."""
    pairs = [(_start(sdk.plain), _start(sdk.protected)) for _ in range(rounds + 1)][1:]
    added_ms = _median(protected[0] - plain[0] for plain, protected in pairs)
    return Cost(
        sdk.name,
        _median(plain[0] for plain, _ in pairs),
        _median(protected[0] for _, protected in pairs),
        added_ms,
        _median(protected[1] - plain[1] for plain, protected in pairs),
        added_ms <= TARGET_MS,
    )


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 1)


def _start(program: str) -> tuple[float, float]:
    """Return wall and CPU time of a program in a fresh interpreter, in milliseconds."""
    done = subprocess.run(
        [sys.executable, "-c", _TIMED.format(program=program)],
        capture_output=True,
        text=True,
        check=True,
    )
    wall_s, cpu_s = map(float, done.stdout.split())
    return wall_s * 1000, cpu_s * 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0 if every cost is within the target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    costs = [measure(sdk, options.rounds) for sdk in SDKS]
    if options.json:
        print(json.dumps([asdict(cost) for cost in costs]))
    else:
        print("client            plain  protected    added   of it CPU")
        for cost in costs:
            print(
                f"{cost.sdk:<15}{cost.plain_ms:>5.0f} ms{cost.protected_ms:>8.0f} ms"
                f"{cost.added_ms:>6.0f} ms{cost.added_cpu_ms:>9.0f} ms"
            )
        print(f"added: at most {TARGET_MS:.0f} ms")
    return 0 if all(cost.met for cost in costs) else 1


if __name__ == "__main__":
    sys.exit(main())
