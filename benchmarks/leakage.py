"""What the sizes of wire events tell about the text in them.

For every shape, responses of a fixed number of events go through the protection, and
for each event that carries generated tokens its wire size is compared with what an
observer would like to know: the length of the event, the length of its text, the number
of its tokens, and, with one token for each event, the token itself.

**What counts.** A wire event counts if the event behind it carries generated tokens.
Roles, a trailing ``usage`` and the final frame are not counted. Frame 0 is counted where
it carries tokens (completions): in the information, but not in the size changes, because
its own size is that of a head, which is there in every response.

**Information.** Plug-in mutual information between the quantity and the wire size, pooled
over all responses of the shape, minus its mean over shuffles. A shuffle gives each response
the sizes of another: it shows what the estimator reports for no relation at all, the chance
included that a response has a subject, and one size for most of its events. The figure of a
shape is the largest of its quantities. Which token it is, is measured over the same tokens in
random order.

**Changes.** How often two neighbouring wire events of one response differ in size.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.events import SHAPES, Event, Shape
from benchmarks.harness import SEVERAL, SINGLE, one_response, protected_response
from benchmarks.tokens import vocabulary

TARGET_BITS = 0.01
TARGET_CHANGES = 2
TOKENS = 8_000
# Sixteen responses are few: one passage decides on a shape. Four times as many are
# taken of every shape whose events are quick to make.
_MORE = 4
EVENTS_PER_RESPONSE = 500


@dataclass(frozen=True)
class Observation:
    """One counted wire event."""

    length: int
    text_length: int
    tokens: tuple[int, ...]
    wire_size: int


@dataclass
class Observed:
    """All counted wire events of a shape."""

    events: list[Observation] = field(default_factory=list)
    changes: int = 0
    plain: int = 0
    wire: int = 0


@dataclass(frozen=True)
class Leakage:
    """What one shape gives away."""

    shape: str
    tokens_per_event: str
    events_per_response: int
    events: int
    bits: float
    noise_bits: float
    of_what: str
    changes: int
    sizes: dict[int, int]
    bytes_ratio: float

    @property
    def is_met(self) -> bool:
        """Whether both targets of the rule are met."""
        return self.bits <= TARGET_BITS and self.changes <= TARGET_CHANGES

    def report(self) -> dict[str, Any]:
        """Return the members for JSON."""
        sizes = {str(size): count for size, count in sorted(self.sizes.items())}
        return {**asdict(self), "sizes": sizes, "met": self.is_met}


def measure_all(
    *,
    tokens: int = TOKENS,
    events_per_response: int = EVENTS_PER_RESPONSE,
    shapes: Sequence[Shape] = SHAPES,
) -> list[Leakage]:
    """Measure every shape with one token and with one to eight tokens per event."""
    return [
        measure(
            shape,
            per_event,
            tokens=tokens if shape.logprobs else tokens * _MORE,
            events=events_per_response,
        )
        for per_event in (SINGLE, SEVERAL)
        for shape in shapes
    ]


def measure(shape: Shape, per_event: range, *, tokens: int, events: int) -> Leakage:
    """Measure one shape over at least ``tokens`` events, and so many tokens or more."""
    observed = _observe(shape, per_event, tokens, events, as_written=True)
    sizes = [one.wire_size for one in observed.events]
    columns: dict[str, list[int]] = {
        "length": [one.length for one in observed.events],
        "text length": [one.text_length for one in observed.events],
        "token count": [len(one.tokens) for one in observed.events],
    }
    results = [
        (*excess(column, sizes, block=events), name) for name, column in columns.items()
    ]
    if per_event == SINGLE:
        mixed = _observe(shape, per_event, tokens, events, as_written=False)
        column = [one.tokens[0] for one in mixed.events]
        of_token = excess(column, [one.wire_size for one in mixed.events], block=events)
        results.append((*of_token, "token"))
    bits, noise, of_what = max(results)
    return Leakage(
        shape=shape.name,
        tokens_per_event="1" if per_event == SINGLE else f"1-{per_event.stop - 1}",
        events_per_response=events,
        events=len(observed.events),
        bits=round(bits, 5),
        noise_bits=round(noise, 5),
        of_what=of_what if bits else "",
        changes=observed.changes,
        sizes=Counter(sizes),
        bytes_ratio=round(observed.wire / observed.plain, 3),
    )


def _observe(
    shape: Shape, per_event: range, tokens: int, events: int, *, as_written: bool
) -> Observed:
    observed = Observed()
    seed = 0
    while len(observed.events) < tokens:
        seed += 1
        response = one_response(
            shape, events, per_event=per_event, seed=seed, as_written=as_written
        )
        _add(observed, shape, response)
    return observed


def _add(observed: Observed, shape: Shape, events: list[Event]) -> None:
    response = protected_response(shape)
    sizes = []
    for number, event in enumerate(events):
        wire = response.push(event.data)
        observed.plain += len(event.data)
        observed.wire += len(wire)
        if event.tokens:
            text = sum(len(vocabulary().piece(token)) for token in event.tokens)
            observed.events.append(
                Observation(len(event.data), text, event.tokens, len(wire))
            )
            if number:
                sizes.append(len(wire))
    observed.wire += len(response.end())
    changes = sum(left != right for left, right in pairwise(sizes))
    observed.changes = max(observed.changes, changes)


def excess(
    column: Sequence[Hashable], sizes: list[int], *, block: int
) -> tuple[float, float]:
    """Return the information above that of shuffled sizes, and the shuffles' spread.

    Each shuffle gives every response, ``block`` events, the sizes of another one.
    """
    if len(set(sizes)) == 1 or len(set(column)) == 1:
        return 0.0, 0.0
    shifts = range(block, len(sizes), block)
    by_chance = [information(column, sizes[shift:] + sizes[:shift]) for shift in shifts]
    above = information(column, sizes) - statistics.fmean(by_chance)
    return above, statistics.stdev(by_chance)


def information(left: Sequence[Hashable], right: Sequence[Hashable]) -> float:
    """Return the plug-in mutual information of two columns, in bits."""
    joint = Counter(zip(left, right, strict=True))
    return _entropy(Counter(left)) + _entropy(Counter(right)) - _entropy(joint)


def _entropy(counts: Counter[Any]) -> float:
    total = counts.total()
    return -sum(count / total * math.log2(count / total) for count in counts.values())
