"""The site of the documents builds without a warning and needs nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

# Nobody listens there: what a build would fetch, it does not get.
_NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the site, built with warnings as errors and no network."""
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "http_proxy": _NOWHERE, "https_proxy": _NOWHERE},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = list((ROOT / "docs").rglob("*.md"))
    assert len(pages) > 10
    for page in pages:
        built = page.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / built).exists(), built


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = _Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert loaded.addresses
        assert not [one for one in loaded.addresses if "//" in one], page


def test_styles_and_pictures_load_nothing_from_elsewhere(site: Path) -> None:
    for path in [*site.rglob("*.css"), *site.rglob("*.svg")]:
        text = path.read_text(encoding="utf-8")
        text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"url\(.?https?:|@import|href=.https?:", text), path


def test_the_picture_shows_the_demo_and_no_machine() -> None:
    text = "\n".join(_words(ROOT / "docs" / "assets" / "demo.svg"))
    assert "sgop1-request." in text
    assert '"content":"sgop1.' in text.replace("\n", "")
    assert "model:" in text
    assert not re.search(r"/(home|root|work|tmp|Users)/", text)


def _words(picture: Path) -> Iterator[str]:
    for words in re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text("utf-8")):
        yield words.replace("&#160;", " ").replace("&quot;", '"')


class _Loaded(HTMLParser):
    """The addresses from which a browser loads something when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(
        self, tag: str, attributes: list[tuple[str, str | None]]
    ) -> None:
        given = dict(attributes)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.addresses.append(given.get("src") or "")
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.addresses.append(given.get("href") or "")
