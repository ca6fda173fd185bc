"""What ``scripts/demo`` shows, and ``scripts/picture.py`` draws: wire beside reader.

``…`` stands where a line is cut; nothing else is changed.
"""

from __future__ import annotations

import re
import textwrap

from rich.box import Box
from rich.table import Table
from rich.text import Text

WIDTH = 104
_WIRE_WIDTH = 62
_READER_WIDTH = 34
_EVENTS = 3
# A line between the columns, and one below their names.
_BOX = Box("    \n  | \n -+ \n  | \n -+ \n -+ \n  | \n    \n", ascii=True)


def screen(asked: bytes, answered: bytes, question: str, answer: str) -> Table:
    """Return what was sent and what came beside the words that program and user have.

    ``asked`` and ``answered`` are the bytes of one connection, in each direction.
    """
    request = _lines(asked, "{")[-1]
    events = _lines(answered, "data: ")
    sealed = [_shortened(line) for line in events if '"sgop1.' in line]
    table = Table(box=_BOX, show_edge=False, header_style="bold")
    table.add_column("ON THE WIRE, IN GATEWAYS, IN LOGS", width=_WIRE_WIDTH)
    table.add_column("WHAT YOU SEE", width=_READER_WIDTH)
    table.add_row(_wire(request, 4), _said("you", question, "cyan"))
    for number, event in enumerate(sealed[:_EVENTS]):
        table.add_row("", "")
        table.add_row(
            _wire(event, 3), _said("model", answer, "green") if number == 0 else ""
        )
    table.add_row("", "")
    table.add_row(f"… ({len(sealed)} events)", "")
    table.add_row(events[-1], "")
    return table


def _lines(seen: bytes, beginning: str) -> list[str]:
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
