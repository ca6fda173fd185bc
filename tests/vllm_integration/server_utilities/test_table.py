"""The table has every row, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.vllm_integration.server_utilities.table import ROWS
from tests.vllm_integration.servers import ROOT

HERE = ROOT / "tests/vllm_integration/server_utilities"
_NAMED = re.compile(r"(?:test|check)_row_(\d+)_")


@cache
def functions_of(path: str) -> frozenset[str]:
    """Return the functions at the top of a file."""
    return frozenset(
        item.name
        for item in ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_there_are_the_thirteen_rows() -> None:
    assert list(ROWS) == list(range(1, 14))


@pytest.mark.parametrize("number", ROWS)
def test_each_row_has_tests_that_are_there(number: int) -> None:
    tests = ROWS[number].tests
    assert any("server_utilities" in name for name in tests)
    for name in tests:
        path, _, function = name.partition("::")
        assert function in functions_of(path), name
        # What has a number in its name has the right one.
        assert {int(it) for it in _NAMED.findall(function)} <= {number}


def test_each_numbered_test_here_is_of_a_row() -> None:
    files = [path for path in HERE.glob("*.py") if path.name != "table.py"]
    numbers = {
        int(found)
        for path in files
        for name in functions_of(str(path.relative_to(ROOT)))
        for found in _NAMED.findall(name)
    }
    assert numbers <= set(ROWS)
    # The handlers of rows 9 to 11 have their numbers in the ids of one test's cases.
    assert numbers | {9, 10, 11} == set(ROWS)
