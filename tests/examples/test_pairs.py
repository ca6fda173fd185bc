"""A protected program is the plain one but for the line that makes the client."""

from __future__ import annotations

import ast
import difflib
import re
from pathlib import Path

import pytest

from tests.vllm_integration.examples.programs import (
    CANCELLING,
    EMBEDDING,
    ENVIRONMENTS,
    FOLDER,
)

PAGE = FOLDER.with_suffix(".md")
PROGRAMS = sorted(path.name for path in (FOLDER / "plain").iterdir())
_LONGEST = 48
_IMPORT = "from stainedglass_output_protection.client import"
_PROTECTED = re.compile(
    r"\b(?:async_)?http_(?:async_)?client=protected_(?:async_)?client\(\)"
)


def test_there_are_programs_to_compare() -> None:
    assert len(PROGRAMS) > 20
    assert PROGRAMS == sorted(path.name for path in (FOLDER / "protected").iterdir())


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_pair_differs_in_its_client_line_only(program: str) -> None:
    plain, protected = (statements_of(kind, program) for kind in ("plain", "protected"))
    changes = [
        line
        for line in difflib.ndiff(plain, protected)
        if line.startswith(("+ ", "- "))
    ]

    imported, *client_line = sorted(changes, key=lambda line: _IMPORT not in line)
    assert imported.startswith(f"+ {_IMPORT}")
    before, after = sorted(client_line, reverse=True)
    assert before.startswith("- ")
    assert after.startswith("+ ")
    assert _PROTECTED.search(after)
    assert without_protection(after[2:]) == before[2:]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_short_and_reads_no_environment_itself(program: str) -> None:
    for kind in ("plain", "protected"):
        text = (FOLDER / kind / program).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= _LONGEST
        assert text.startswith('"""')
        assert "environ" not in text


def test_every_program_is_run_somewhere() -> None:
    run = {f"{name}.py" for each in ENVIRONMENTS for name in each.programs()}
    apart = {f"{name}.py" for name in (*CANCELLING, EMBEDDING)}
    assert run | apart == set(PROGRAMS)


def test_the_page_lists_the_programs_and_the_versions_that_are_run() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for kind in ("plain", "protected"):
        listed = re.findall(rf"\(examples/{kind}/(\w+\.py)\)", page)
        assert sorted(listed) == PROGRAMS
    for environment in ENVIRONMENTS:
        for requirement in (
            *environment.requirements,
            *(environment.instead or ())[1:],
        ):
            assert f"`{requirement}`" in page


def test_the_page_shows_the_difference_of_the_first_pair() -> None:
    shown = re.search(r"```diff\n(.*?)\n```", PAGE.read_text("utf-8"), re.DOTALL)
    plain, protected = (
        (FOLDER / kind / "openai_chat.py").read_text(encoding="utf-8").splitlines()
        for kind in ("plain", "protected")
    )
    # Less the three lines before a change, and what stands behind it.
    lines = list(difflib.unified_diff(plain, protected, lineterm="", n=2))[3:-2]
    assert shown
    assert shown[1].splitlines() == [line.rstrip() for line in lines]


def statements_of(kind: str, program: str) -> list[str]:
    """Return the statements of a program, each on one line, without its layout."""
    tree = ast.parse((FOLDER / kind / program).read_text(encoding="utf-8"))
    return [ast.unparse(statement) for statement in tree.body]


def without_protection(statement: str) -> str:
    """Return a statement as it is in the plain program."""
    call = re.sub(rf"(?:, )?{_PROTECTED.pattern}", "", statement)
    return ast.unparse(ast.parse(call))


def test_the_folders_hold_programs_only() -> None:
    kept = {path.name for path in FOLDER.iterdir()}
    assert kept == {"plain", "protected"}
    assert all(Path(name).suffix == ".py" for name in PROGRAMS)
