"""Body bytes of a protected stream over those of the plain one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.events import SHAPES, Shape
from benchmarks.harness import one_response, protected_response

TARGET_RATIOS = {"content": 1.8, "opaque": 0.75}
EVENTS = 500
# A served model's name stands in every event, plain or protected, and dilutes.
_SHORT = "m"


@dataclass(frozen=True)
class Size:
    """Bytes of one response's body."""

    shape: str
    model: str
    plain: int
    protected: int
    ratio: float

    @property
    def is_met(self) -> bool:
        """Whether the target is met, where there is one."""
        return self.ratio <= TARGET_RATIOS.get(self.shape, self.ratio)

    def report(self) -> dict[str, Any]:
        """Return the members for JSON."""
        return {**asdict(self), "met": self.is_met}


def measure_all(*, shapes: Sequence[Shape] = SHAPES) -> list[Size]:
    """Measure every shape, and the first one under the shortest model name."""
    short = replace(shapes[0], name=f"{shapes[0].name}, short name", model=_SHORT)
    return [measure(shape) for shape in [*shapes, short]]


def measure(shape: Shape) -> Size:
    """Measure one response of a shape."""
    response = protected_response(shape)
    events = [event.data for event in one_response(shape, EVENTS)]
    protected = sum(len(response.push(event)) for event in events)
    protected += len(response.end())
    plain = sum(map(len, events))
    return Size(shape.name, shape.model, plain, protected, round(protected / plain, 4))
