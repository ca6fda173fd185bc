"""Draws docs/assets/demo.svg: what ``scripts/demo`` shows, from a run of its own.

Run it in .venv, as ``python scripts/picture.py``. It serves the tiny model on real vLLM,
asks it through a tap and draws what the tap and the reader saw. ``…`` stands where a
line is cut; nothing else is changed.
"""

from __future__ import annotations

import io
import re
import tempfile
import textwrap
from pathlib import Path

import demo
from rich.console import Console
from rich.table import Table
from rich.text import Text

PICTURE = demo.ROOT / "docs" / "assets" / "demo.svg"
_WIRE_WIDTH = 62
_READER_WIDTH = 34
_EVENTS = 3
# Rich's own format would load a font from elsewhere.
_FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono",
    monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})"
    clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Serve, ask, draw."""
    log = Path(tempfile.mkdtemp(prefix="sg-picture-")) / "server.log"
    port, tap_port = demo.free_port(), demo.free_port()
    process = demo.start_server(port, log)
    try:
        tap = demo.WireTap(tap_port, port)
        question, answer = demo.ask(tap_port, demo.fingerprint_in(log))
    finally:
        demo.stop(process)
    asked = _lines(tap.asked, "{")
    answered = _lines(tap.answered, "data: ")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(asked[-1], answered, question, answer), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(demo.ROOT)}")


def draw(asked: str, answered: list[str], question: str, answer: str) -> str:
    """Return the picture of one request and its answer, as SVG."""
    console = Console(record=True, width=104, file=io.StringIO())
    table = Table.grid(padding=(0, 3))
    table.add_column(width=_WIRE_WIDTH)
    table.add_column(width=_READER_WIDTH)
    table.add_row(
        Text("ON THE WIRE, IN GATEWAYS, IN LOGS", style="bold"),
        Text("WHAT YOU SEE", style="bold"),
    )
    table.add_row("", "")
    table.add_row(_wire(asked, 4), _said("you", question, "cyan"))
    events = [_shortened(line) for line in answered if '"sgop1.' in line]
    for number, event in enumerate(events[:_EVENTS]):
        reader = _said("model", answer, "green") if number == 0 else ""
        table.add_row("", "")
        table.add_row(_wire(event, 3), reader)
    table.add_row("", "")
    table.add_row(f"… ({len(events)} events)", "")
    table.add_row(answered[-1], "")
    console.print(Text("$ scripts/demo", style="bold"))
    console.print()
    console.print(table)
    return console.export_svg(
        title="sg-vllm serve, on real vLLM",
        code_format=_FORMAT,
        unique_id="demo",
    )


def _lines(seen: bytearray, beginning: str) -> list[str]:
    lines = seen.decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith(beginning)]


def _shortened(event: str) -> str:
    """Cut what stands between an event's id and its choices, readable as it is."""
    return re.sub(r'"object".*?"choices"', '…,"choices"', event)


def _wire(line: str, rows: int) -> Text:
    parts = [
        line[at : at + _WIRE_WIDTH] for at in range(0, rows * _WIRE_WIDTH, _WIRE_WIDTH)
    ]
    if len(line) > rows * _WIRE_WIDTH:
        parts[-1] = parts[-1][:-1] + "…"
    text = Text("\n".join(filter(None, parts)))
    text.highlight_regex(r"sgop1[\s\S]*", "dim yellow")
    return text


def _said(who: str, words: str, style: str) -> Text:
    said = textwrap.fill(words, _READER_WIDTH - 7, subsequent_indent=" " * 7)
    return Text(f"{who + ':':<7}", style="bold").append(said, style=f"not bold {style}")


if __name__ == "__main__":
    main()
