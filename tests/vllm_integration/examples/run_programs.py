"""Run by ``programs.py`` in another environment: programs, one after the other.

For each line of stdin, a JSON list of runs, ``{"path": ..., "variables": {...}}``, it
prints a list of what came of each: ``{"printed": ...}``, or ``{"error": ...}`` with a
traceback. The argument is what the version of ``openai`` begins with. One interpreter
for all programs, because importing a framework takes longer than what they do.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
import traceback
from typing import Any

import openai

from tests.docs.child import answer_lines


def run(path: str, variables: dict[str, str]) -> dict[str, Any]:
    """Run one program as ``python path`` would; return what it printed."""
    os.environ.update(variables)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(path, run_name="__main__")
        return {"printed": json.loads(printed.getvalue())}
    except Exception:
        return {"error": traceback.format_exc()}
    finally:
        for name in variables:
            del os.environ[name]


assert openai.__version__.startswith(sys.argv[1]), openai.__version__
answer_lines(lambda runs: [run(**each) for each in runs])
