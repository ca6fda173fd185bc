"""Reads the tables of a page."""

from __future__ import annotations

import re
from pathlib import Path


def rows_below(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head.

    Raises:
        AssertionError: there is no such heading, or no table below it.
    """
    text = page.read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, heading
    section = rest.split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert len(lines) > 2, heading
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines[2:]
    ]


def name_in(cell: str) -> str:
    """Return what a cell has between backticks, which is all that it has.

    Raises:
        AssertionError: it has something else.
    """
    match = re.fullmatch(r"`([^`]+)`", cell)
    assert match, cell
    return match[1]
