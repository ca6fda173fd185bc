"""Node's package ``openai``, installed once, under ``.cache``."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.interop import node
from tests.made_once import CACHE, made_once

VERSION = "7.57.0"
# For machines without a registry of Node packages: the tests with it are skipped.
WITHOUT_VARIABLE = "TESTS_WITHOUT_NPM"
FOLDER = CACHE / f"node-openai-{VERSION}"
_SCRIPT = Path(__file__).with_name("ask_openai.mjs")
_TIMEOUT_S = 300


def ask(base_url: str, *arguments: str) -> Any:
    """Return what the package got, unary and streamed, and its error if any."""
    done = subprocess.run(
        [node.newest(), _SCRIPT, made_once(FOLDER, _make), base_url, *arguments],
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def _make() -> None:
    if os.environ.get(WITHOUT_VARIABLE):
        pytest.skip(f"{WITHOUT_VARIABLE} is set")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "package.json").write_text('{"private": true}')
    root = node.newest().parents[1]
    npm = next(root.glob("lib/node_modules/npm/bin/npm-cli.js"))
    done = subprocess.run(
        [
            *(node.newest(), npm, "install", f"openai@{VERSION}"),
            *("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"),
        ],
        cwd=FOLDER,
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        pytest.fail(
            f"npm could not install openai {VERSION}: make its registry reachable, or "
            f"set {WITHOUT_VARIABLE}=1 to go without.\n{done.stderr.decode()[-500:]}"
        )
