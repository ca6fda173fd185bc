"""``promtool``, Prometheus' own checker. Where it is missing the tests fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_LEFT_OUT = "SG_TEST_WITHOUT_PROMTOOL"


def promtool(*arguments: str | Path, given: bytes = b"", good: int = 0) -> str:
    """Run it in the repository's root; return what it said.

    It has to end with the status ``good``.
    """
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get(_LEFT_OUT) == "1":
            pytest.skip(f"{_LEFT_OUT}=1")
        pytest.fail(
            "promtool is not installed. On Debian: apt-get install prometheus. To leave "
            f"the tests out that need it: {_LEFT_OUT}=1",
            pytrace=False,
        )
    done = subprocess.run(
        [program, *map(str, arguments)],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=DEPLOY.parent,
        timeout=120,
        check=False,
    )
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == good, said
    return said
