"""Checks what the pages ask of servers and of pip, without loading a model or a package.

As a program it reads one recorded command to a line, gives it to the settings and to
vLLM's own parser as ``sg-vllm serve`` does, and says what was wrong, or nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
from typing import Any

import pytest

from tests.docs.blocks import ROOT
from tests.docs.child import Child, answer_lines


def check_recorded(recorded: list[dict[str, Any]], parser: Child | None) -> None:
    """Check everything that a page's stand-ins have written down.

    Raises:
        AssertionError: an extra is not there, or a server would not start that way.
    """
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for item in recorded:
        program, *arguments = item["arguments"]
        if program == "pip":
            for extra in re.findall(r"^\.\[([\w,-]+)\]$", "\n".join(arguments), re.M):
                for name in extra.split(","):
                    assert re.search(rf"^{name} = \[", project, re.M), name
        elif parser is not None:
            problem = parser.ask(item)
            assert not problem, f"{' '.join(item['arguments'])}: {problem}"


def has_vllm() -> bool:
    """Tell whether vLLM is installed."""
    return importlib.util.find_spec("vllm") is not None


class _Parsed(Exception):
    """Raised where the server would start."""


def _problem_of(recorded: dict[str, Any]) -> str:
    from stainedglass_output_protection.errors import ConfigurationError
    from stainedglass_output_protection.hosting.settings import (
        load_settings,
        setting_warnings,
    )
    from stainedglass_output_protection.vllm import _seams
    from stainedglass_output_protection.vllm.options import refuse_early

    def stop(version: str) -> None:
        raise _Parsed

    _, *arguments = recorded["arguments"]
    os.chdir(recorded["folder"])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in recorded["settings"].items():
            patch.setenv(name, value)
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                allowed = load_settings().allow_leaks
                refuse_early(arguments, allowed)
                _seams.serve(arguments, allowed=allowed, before_start=stop)
        except _Parsed:
            return " ".join(setting_warnings())
        except ConfigurationError as error:
            return str(error)
        except SystemExit:
            return said.getvalue()[-500:]
    return "it did not come as far as starting"


if __name__ == "__main__":
    answer_lines(_problem_of)
