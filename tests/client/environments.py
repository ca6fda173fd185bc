"""Virtual environments with other SDKs and interpreters, made once, under ``.cache``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.made_once import CACHE, made_once

ROOT = Path(__file__).parents[2]
_ON_PATH = (
    "import runpy, sys; _, root, *sys.argv = sys.argv; sys.path.insert(0, root); "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
CORE = ("cryptography>=48,<51", "msgspec>=0.19,<0.23")


def environment(name: str, python: str, *requirements: str) -> Path:
    """Return the interpreter of the environment ``name``, which it makes if it must.

    Skips the test where the interpreter is not there.
    """
    folder = CACHE / name
    executable = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def make() -> None:
        _make(folder, executable, python, requirements)

    made_once(folder, make)
    return executable


def _make(
    folder: Path, executable: Path, python: str, requirements: Sequence[str]
) -> None:
    found = _interpreter(python)
    if found is None:
        pytest.skip(f"{python} is not installed here")
    print(
        f"making {folder.name}: {' '.join(requirements)}", file=sys.stderr, flush=True
    )
    subprocess.run([found, "-m", "venv", "--clear", folder], check=True)
    pip = [str(executable), "-m", "pip", "install", "--quiet", "--retries", "1"]
    install = [*pip, *CORE, *requirements]
    if subprocess.run(install, check=False).returncode:
        pytest.fail(f"pip could not install {' '.join(requirements)}")


def run_script(executable: Path, script: str, *arguments: str) -> str:
    """Run a script of this folder with the package on its path; return its output."""
    path = Path(__file__).with_name(script)
    strict = [str(executable), "-W", "error", "-X", "utf8"]
    result = subprocess.run(
        [*strict, "-c", _ON_PATH, str(ROOT), str(path), *arguments],
        env={name: os.environ[name] for name in os.environ if not _is_ours(name)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def _is_ours(variable: str) -> bool:
    return variable.startswith("SG_") or variable.lower().endswith("_proxy")


def _interpreter(python: str) -> str | None:
    """Return the path of a ``python3.x`` that runs; version managers' too."""
    version = python.removeprefix("python")
    managed = Path.home().glob(f".pyenv/versions/{version}.*/bin/{python}")
    for candidate in (shutil.which(python), *map(str, managed)):
        if candidate is not None:
            run = [candidate, "--version"]
            if not subprocess.run(run, check=False, capture_output=True).returncode:
                return candidate
    return None
