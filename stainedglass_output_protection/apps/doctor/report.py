"""What is printed: a table for people, JSON for programs."""

from __future__ import annotations

import json
from typing import IO, Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stainedglass_output_protection.apps.doctor.findings import Finding, Outcome

HOLDS, BROKEN, UNREACHABLE = 0, 1, 2
_STYLES: Final = {
    Outcome.OK: "green",
    Outcome.WARNING: "yellow",
    Outcome.FAULT: "bold red",
}
_NOT_TESTED: Final = "dim"
# With fewer columns a table has no room for its sentences.
_TABLE_WIDTH: Final = 70
_LEAST_WIDTH: Final = 20


def print_table(findings: list[Finding], url: str, file: IO[str]) -> None:
    """Print the table, and below it what was not tested, once for each reason.

    On a narrow terminal the rows are paragraphs. What a server wrote is in no cell but
    as printable ASCII.
    """
    console = Console(file=file, highlight=False, markup=False)
    # Of no width, as some machines say, nothing would be printed.
    console.width = max(console.width, _LEAST_WIDTH)
    rows = [it for it in findings if it.outcome is not Outcome.NOT_TESTED]
    if console.width < _TABLE_WIDTH:
        console.print(Text(url))
        for it in rows:
            console.print(_paragraph(it))
    else:
        console.print(_table(rows, url))
    left: dict[str, list[str]] = {}
    for it in findings:
        if it.outcome is Outcome.NOT_TESTED:
            left.setdefault(it.seen, []).append(it.name)
    for why, names in left.items():
        console.print(Text(f"Not tested: {', '.join(names)}. {why}", _NOT_TESTED))
    if left:
        console.print()


def _paragraph(it: Finding) -> Text:
    text = Text.assemble(f"{it.name}: ", (it.outcome.value, _STYLES[it.outcome]))
    return text.append(f"\n{it.seen} {it.advice}".rstrip() + "\n")


def _table(findings: list[Finding], url: str) -> Table:
    table = Table(title=Text(url), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("check", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("seen", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for it in findings:
        outcome = Text(it.outcome.value, _STYLES[it.outcome])
        table.add_row(Text(it.name), outcome, Text(it.seen), Text(it.advice))
    return table


def json_text(
    findings: list[Finding],
    *,
    url: str,
    profile: str,
    exit_status: int,
    summary: str,
    requests: int,
) -> str:
    """Return the JSON form (``docs/doctor.md``)."""
    report: dict[str, Any] = {
        "url": url,
        "profile": profile,
        "protected": exit_status == HOLDS,
        "exit_status": exit_status,
        "summary": summary,
        "requests": requests,
        "checks": [
            {
                "name": it.name,
                "outcome": it.outcome.value,
                "seen": it.seen,
                "advice": it.advice,
            }
            for it in findings
        ],
    }
    return json.dumps(report, indent=2)
