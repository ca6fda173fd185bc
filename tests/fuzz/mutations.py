"""Random damage to bytes that were good, and how long to go on."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence

SECONDS_VARIABLE = "FUZZ_SECONDS"
SEED_VARIABLE = "FUZZ_SEED"
_DEFAULT_SECONDS = 1.0
_PIECES = (
    *(b"", b"\0", b"\n", b"\r\n\r\n", b'"', b"\\", b"{", b"[", b"sgop1.", b"="),
    *(b"sgop1-request.", b"sgop1-keys.", b"\xff\xff\xff\xff", b"--b--\r\n"),
    *(b'{"error":{"message":"x","code":"key_unknown"}}', b"data: ", b"event: "),
)


def damaged(samples: Sequence[bytes], name: str) -> Iterator[bytes]:
    """Yield each sample, and then damaged ones until the time is over.

    ``FUZZ_SECONDS`` is for each test. What failed comes again with the ``FUZZ_SEED``
    that is printed.
    """
    seconds = float(os.environ.get(SECONDS_VARIABLE, _DEFAULT_SECONDS))
    seed = os.environ.get(SEED_VARIABLE) or str(time.time_ns())
    print(f"{SEED_VARIABLE}={seed} {SECONDS_VARIABLE}={seconds:g}")
    source = random.Random(f"{seed} {name}")
    yield from samples
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        data = source.choice(samples)
        for _ in range(source.choice((1, 1, 1, 2, 5))):
            data = _damage(data, samples, source)
        yield data


def _damage(data: bytes, samples: Sequence[bytes], source: random.Random) -> bytes:
    at = source.randrange(len(data) + 1)
    to = min(len(data), at + source.choice((0, 1, 2, 8, 64, len(data))))
    kind = source.randrange(6)
    if kind == 0 and at < len(data):
        flipped = data[at] ^ 1 << source.randrange(8)
        return data[:at] + bytes([flipped]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + data[to:]
    if kind == 2:
        return data[:at] + source.choice(_PIECES) + data[to:]
    if kind == 3:
        return data[:at] + source.randbytes(source.randrange(20)) + data[to:]
    if kind == 4:
        other = source.choice(samples)
        return data[:at] + other[source.randrange(len(other) + 1) :]
    return data[:to] + data[at:]
