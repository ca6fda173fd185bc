"""Plain SVG: a panel with axes, and lines, steps and stacked bars in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]
_INK = "#24292f"
_FAINT = "#6e7781"
_GRID = "#e4e7eb"
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 46, 34


@dataclass
class Panel:
    """A panel ``width`` by ``height``; x goes from 0 to ``x_end``, y to ``y_end``."""

    title: str
    unit: str
    x_end: float
    y_end: float
    y_ticks: Sequence[float]
    width: float = 400
    height: float = 250
    _drawn: list[str] = field(default_factory=list)
    _names: list[tuple[str, str]] = field(default_factory=list)

    def line(self, name: str, colour: str, points: Points) -> None:
        """Draw points joined by lines."""
        text = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        self._drawn.append(
            f'<polyline points="{text}" fill="none" stroke="{colour}" '
            'stroke-width="2" stroke-linejoin="round"/>'
        )
        self._names.append((name, colour))

    def steps(self, name: str, colour: str, points: Points) -> None:
        """Draw points joined by steps."""
        corners = [points[0]]
        for before, after in pairwise(points):
            corners += [(after[0], before[1]), after]
        self.line(name, colour, corners)

    def bars(
        self, width: float, series: Sequence[tuple[str, str, Sequence[float]]]
    ) -> None:
        """Draw bars of this width, those of each series on those before it."""
        base = [0.0] * len(series[0][2])
        for name, colour, heights in series:
            for at, height in enumerate(heights):
                top = self._y(base[at] + height)
                if height:
                    self._drawn.append(
                        f'<rect x="{self._x(at * width) + 0.5:.1f}" y="{top:.1f}" '
                        f'width="{self._x(width) - self._x(0) - 1:.1f}" '
                        f'height="{self._y(base[at]) - top:.1f}" fill="{colour}"/>'
                    )
                base[at] += height
            self._names.append((name, colour))

    def right_tick(self, y: float, colour: str, words: str) -> None:
        """Write words at the right end, at the height of ``y``."""
        self._drawn.append(
            f'<text x="{self.width - 2}" y="{self._y(y) - 5:.1f}" text-anchor="end" '
            f'style="fill: {colour}">{escape(words)}</text>'
        )

    def mark(self, x: float, words: str) -> None:
        """Draw a line from top to bottom with words beside it."""
        self._drawn.append(
            f'<line x1="{self._x(x):.1f}" x2="{self._x(x):.1f}" y1="{_TOP}" '
            f'y2="{self.height - _BOTTOM}" stroke="{_FAINT}" stroke-dasharray="3 3"/>'
            f'<text x="{self._x(x) + 4:.1f}" y="{_TOP + 9}" class="faint">'
            f"{escape(words)}</text>"
        )

    def svg(self, x: float, y: float) -> str:
        """Return the panel, its corner at this place."""
        parts = [f'<g transform="translate({x} {y})">']
        parts.append(f'<text x="8" y="18" class="title">{escape(self.title)}</text>')
        at = 8.0
        for name, colour in self._names:
            parts.append(
                f'<rect x="{at:.0f}" y="26" width="10" height="10" fill="{colour}"/>'
                f'<text x="{at + 14:.0f}" y="35">{escape(name)}</text>'
            )
            at += 26 + 6.0 * len(name)
        parts.append(
            f'<text x="{self.width - _RIGHT}" y="35" text-anchor="end" class="faint">'
            f"{escape(self.unit)}</text>"
        )
        for tick in self.y_ticks:
            height = self._y(tick)
            parts.append(
                f'<line x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{height:.1f}" '
                f'y2="{height:.1f}" stroke="{_INK if tick == 0 else _GRID}"/>'
                f'<text x="{_LEFT - 5}" y="{height + 4:.1f}" text-anchor="end" '
                f'class="faint">{tick:g}</text>'
            )
        foot = self.height - _BOTTOM + 15
        for second in range(0, int(self.x_end) + 1, 20):
            parts.append(
                f'<text x="{self._x(second):.1f}" y="{foot}" text-anchor="middle" '
                f'class="faint">{second}{" s" if second == 0 else ""}</text>'
            )
        return "\n".join([*parts, *self._drawn, "</g>"])

    def _x(self, x: float) -> float:
        return _LEFT + (self.width - _LEFT - _RIGHT) * x / self.x_end

    def _y(self, y: float) -> float:
        inside = self.height - _TOP - _BOTTOM
        return self.height - _BOTTOM - inside * min(y, self.y_end) / self.y_end


def ticks(largest: float) -> list[float]:
    """Return round numbers from 0 to ``largest`` or a little more, four or five."""
    step = 1e-6
    factors = (2.0, 2.5, 2.0)
    at = 0
    while step * 4 < largest:
        step *= factors[at % 3]
        at += 1
    count = 1
    while step * count < largest:
        count += 1
    return [step * number for number in range(count + 1)]


def document(panels: Sequence[Panel], words: str, description: str) -> str:
    """Return the panels two by two, with a line of words below them."""
    width, height = panels[0].width, panels[0].height
    rows = (len(panels) + 1) // 2
    whole = rows * height + 24
    drawn = [
        panel.svg(at % 2 * width, at // 2 * height) for at, panel in enumerate(panels)
    ]
    return "\n".join(
        [
            f'<svg viewBox="0 0 {2 * width:g} {whole:g}" '
            'xmlns="http://www.w3.org/2000/svg" role="img">',
            f"<desc>{escape(description)}</desc>",
            f"<style>text {{ font: 11px sans-serif; fill: {_INK}; }} "
            ".title { font-size: 14px; font-weight: bold; } "
            f".faint {{ fill: {_FAINT}; }}</style>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *drawn,
            f'<text x="8" y="{whole - 8:g}" class="faint">{escape(words)}</text>',
            "</svg>\n",
        ]
    )
