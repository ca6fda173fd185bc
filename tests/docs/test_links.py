"""Documents do not rot: citations resolve, links lead somewhere, commands exist."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT

SOURCES = sorted(
    path
    for folder in ("stainedglass_output_protection", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    found = set()
    for line in page.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"#+ (.+)", line):
            words = re.sub(r"[^\w\- ]", "", match[1].lower())
            found.add(words.strip().replace(" ", "-"))
    return found


def test_there_is_something_to_check() -> None:
    assert len(PAGES) > 5
    assert len(SOURCES) > 30


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_cited_headings_of_the_specification_exist(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    cited = set(re.findall(r"protocol\.md#([a-z0-9\-]+)", text))
    assert cited <= anchors(ROOT / "docs" / "protocol.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        leads_to = (page.parent / path).resolve() if path else page
        assert leads_to.exists(), target
        assert not anchor or anchor in anchors(leads_to), target


def test_the_readme_s_scripts_can_be_run() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    scripts = set(re.findall(r"^(scripts/\w+)", readme, flags=re.MULTILINE))
    assert scripts == {"scripts/demo", "scripts/test"}
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_documents_hold_no_path_of_a_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(/work/|/root/|/tmp/s\d)", text)
