"""Finds the fenced blocks of the pages.

A block says by its language what is done with it:

- ``python`` is run, ``bash`` is run, ``console`` is run where a line begins with ``$``;
- of a ``diff`` the new side is run as Python, with a program's variables set;
- ``json`` and ``yaml`` are parsed;
- ``text`` is shown only: diagrams, formulas, what a program printed.

A line ``<!-- needs: gpu -->`` above a block (or ``docker``, or ``kubernetes``) leaves it
to machines that have that. ``title="name"`` also saves the block under that name.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RUN = ("python", "bash", "console", "diff")
PARSED = ("json", "yaml")
SHOWN = ("text",)
NEEDS = ("docker", "kubernetes", "gpu")

_FENCE = re.compile(r"( *)(`{3,})(\S*) *(.*)")
_NEEDS = re.compile(r"\s*<!-- needs: (.+?) -->\s*")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One block; ``line`` is where its text begins, counted from 1."""

    page: Path
    line: int
    language: str
    text: str
    title: str = ""
    needs: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def program(self) -> str:
        """What is run of it."""
        if self.language == "diff":
            lines = self.text.splitlines()
            new = [line[1:] for line in lines if not line.startswith("-")]
            return "\n".join(new) + "\n"
        if self.language != "console":
            return self.text
        typed = [line for line in self.text.splitlines() if line.startswith("$ ")]
        return "\n".join(line.removeprefix("$ ") for line in typed) + "\n"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, from its top to its end.

    Raises:
        ValueError: a block is not closed.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    needs = ""
    at = 0
    while at < len(lines):
        opening = _FENCE.fullmatch(lines[at])
        if opening is None:
            if lines[at].strip():
                said = _NEEDS.fullmatch(lines[at])
                needs = said[1] if said else ""
            at += 1
            continue
        indent, fence, language, rest = opening.groups()
        first = at + 1
        try:
            last = lines.index(indent + fence, first)
        except ValueError:
            raise ValueError(f"{page.name}:{first} is not closed") from None
        text = textwrap.dedent("\n".join(lines[first:last])) + "\n"
        title = _TITLE.search(rest)
        yield Block(page, first + 1, language, text, title[1] if title else "", needs)
        needs, at = "", last + 1


def all_blocks() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page)]


def pages_with_something_to_run() -> list[Path]:
    """Return the pages that have a block to run."""
    pages = {block.page for block in all_blocks() if block.language in RUN}
    return sorted(pages)
