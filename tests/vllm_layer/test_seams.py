"""The seams on the vLLM that is installed; the checks are in ``installed_seams.py``."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"
)

SCRIPT = Path(__file__).with_name("installed_seams.py")
CHECKS = [
    node.name
    for node in ast.parse(SCRIPT.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]


@pytest.fixture(scope="module")
def passed() -> tuple[set[str], str]:
    """Run every check in one process; one that fails hides those after it."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.vllm_layer.installed_seams", *CHECKS],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=SCRIPT.parents[2],
    )
    return set(run.stdout.split()), run.stderr


def test_the_package_called_vllm_is_not_ours() -> None:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    assert "stainedglass" not in spec.origin


def test_there_are_checks() -> None:
    assert len(CHECKS) > 8


@pytest.mark.parametrize("check", CHECKS)
def test_installed(check: str, passed: tuple[set[str], str]) -> None:
    names, errors = passed
    assert check in names, errors[-3000:]
