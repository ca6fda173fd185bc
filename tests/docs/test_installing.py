"""What the pages tell to install is enough for what they then tell to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import ROOT, blocks_of
from tests.docs.running import Target

QUICK_START = ROOT / "docs" / "quickstart.md"
# What the README has clients install, and what the quick start has, for its commands.
CLIENT, COMMANDS = "pip install '.[client]' openai", "pip install '.[cli]' openai"
DOCTOR = "sg-vllm doctor http://localhost:8000 --identity SHA256:2vT…"
_LIMIT_S = 600


def is_on(page: Path, line: str) -> bool:
    return any(block.text.startswith(line) for block in blocks_of(page))


def test_what_clients_install_is_enough_for_the_quick_start(
    target: Target, tmp_path: Path
) -> None:
    assert is_on(ROOT / "README.md", CLIENT)
    assert is_on(QUICK_START, COMMANDS)
    assert is_on(QUICK_START, DOCTOR)
    (program,) = [block.text for block in blocks_of(QUICK_START) if block.title]
    (tmp_path / "ask.py").write_text(target.in_place(program, tmp_path))

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--retries", "1", "openai"]

    subprocess.run([*install, ".[client]"], cwd=ROOT, check=True, timeout=_LIMIT_S)
    assert "Grüße" in said_by([programs / "python", "ask.py"], tmp_path)

    subprocess.run([*install, ".[cli]"], cwd=ROOT, check=True, timeout=_LIMIT_S)
    _, *arguments = target.in_place(DOCTOR, tmp_path).split()
    assert "Protection holds" in said_by([programs / "sg-vllm", *arguments], tmp_path)


def said_by(command: list[Path | str], folder: Path) -> str:
    """Return what a command printed, once it has ended well."""
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=_LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
