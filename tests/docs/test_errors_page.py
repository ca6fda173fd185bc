"""The page of errors names every error and every code, and nothing else."""

from __future__ import annotations

import ast

from stainedglass_output_protection import errors
from tests.docs.blocks import ROOT
from tests.docs.tables import name_in, rows_below

PAGE = ROOT / "docs" / "errors.md"
# The proxy's own refusals are on its page.
SERVER = [
    ROOT / "stainedglass_output_protection" / name for name in ("protocol", "server")
]


def test_every_error_of_the_client_is_in_the_table() -> None:
    names = [
        name
        for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, errors.ResponseError)
    ]
    concrete = set(names) - {"ResponseError", "StatementError"}
    assert concrete == {
        name_in(row[0]) for row in rows_below(PAGE, "What the client raises")
    }


def test_every_other_error_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, item in vars(errors).items():
        if isinstance(item, type) and name != "OutputProtectionError":
            assert f"`{name}`" in text or f".{name}`" in text, name


def test_every_code_of_the_server_is_in_the_table_with_its_status() -> None:
    table = {
        (name_in(row[1]), int(row[0]))
        for row in rows_below(PAGE, "What the server refuses")
    }
    assert table == set(refusals())


def refusals() -> list[tuple[str, int]]:
    """Return code and status of every refusal that the server's code makes."""
    found = []
    for path in (path for folder in SERVER for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            if getattr(node.func, "id", "") not in ("RequestError", "ClientKeyError"):
                continue
            given = {item.arg: ast.literal_eval(item.value) for item in node.keywords}
            found.append((given["code"], given.get("status", 400)))
    assert len(found) > 10
    return found
