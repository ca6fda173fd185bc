"""What the pages tell to install is enough for what they then tell to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import ROOT, blocks_of
from tests.docs.running import Target

COMMAND = "pip install '.[client]' openai"


def test_the_client_of_the_quick_start_installs_and_asks(
    target: Target, tmp_path: Path
) -> None:
    blocks = list(blocks_of(ROOT / "docs" / "quickstart.md"))
    assert any(block.text.strip() == COMMAND for block in blocks)
    (program,) = [block.text for block in blocks if block.title == "ask.py"]
    (tmp_path / "ask.py").write_text(target.in_place(program, tmp_path))

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--retries", "1", ".[client]", "openai"]
    subprocess.run(install, cwd=ROOT, check=True, timeout=300)

    asked = subprocess.run(
        [programs / "python", "ask.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert asked.returncode == 0, asked.stderr
    assert "Grüße" in asked.stdout
