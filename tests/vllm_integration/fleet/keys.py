"""``sg-vllm keys``, as an operator types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SG_VLLM = str(Path(sys.executable).with_name("sg-vllm"))


def sg_vllm_keys(*arguments: str | Path) -> str:
    """Run the command and return what it printed; it has to end well."""
    done = subprocess.run(
        [_SG_VLLM, "keys", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
