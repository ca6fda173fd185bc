"""Rows 2, 5, 6, 12 and 13, each a check in ``checks.py`` of the installed vLLM."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.servers import ROOT

pytestmark = pytest.mark.vllm

SCRIPT = Path(__file__).with_name("checks.py")
CHECKS = [
    item.name
    for item in ast.parse(SCRIPT.read_text()).body
    if isinstance(item, ast.AsyncFunctionDef) and item.name.startswith("check_")
]
LIMIT_S = 500.0


@pytest.fixture(scope="module")
def passed(folder: Path, identity: Identity) -> tuple[set[str], str]:
    """Run every check in one process; one that fails hides those after it."""
    run = subprocess.run(
        [sys.executable, "-m", f"{__package__}.checks", *CHECKS],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=ROOT,
        env={
            **os.environ,
            "SG_IDENTITY_KEY_FILE": str(identity.path),
            "SG_KEY_REFRESH_TIME_S": "0.2",
            "SG_KEY_OVERLAP_EPOCHS": "100",
        },
    )
    return set(run.stdout.split()), run.stderr


def test_there_are_checks() -> None:
    assert len(CHECKS) >= 6


@pytest.mark.parametrize("check", CHECKS)
def test_installed(check: str, passed: tuple[set[str], str]) -> None:
    names, errors = passed
    assert check in names, errors[-4000:]
