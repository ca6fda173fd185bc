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
    Outcome.NOT_TESTED: "dim",
}


def print_table(findings: list[Finding], url: str, file: IO[str]) -> None:
    """Print the table. What a server wrote is in no cell but as printable ASCII."""
    table = Table(title=Text(url), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("check", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("seen", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for it in findings:
        outcome = Text(it.outcome.value.replace("_", " "), _STYLES[it.outcome])
        table.add_row(Text(it.name), outcome, Text(it.seen), Text(it.advice))
    Console(file=file, highlight=False, markup=False).print(table)


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
