"""The signal for new keys, sent to real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="no such signal on this system"
)

BLOCKED = """
import logging, os, signal, subprocess, sys
from stainedglass_output_protection.server.rotation_signal import *
from stainedglass_output_protection.server import rotation_signal
rotation_signal.block_rotation_signal()
"""
ROTATING = """
calls = 0
def rotate():
    global calls
    calls += 1
    print("rotated", calls, flush=True)
    if calls == 2: raise OSError("a secret word")
rotation_signal.rotate_on_signal(rotate)
"""


@pytest.fixture
def start() -> Iterator[Any]:
    """Starts programs, and ends them."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", BLOCKED + program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_signal_rotates_and_a_failure_ends_nothing(start: Any) -> None:
    process = start(ROTATING + "print('up', flush=True)\nsys.stdin.read()")
    assert line_of(process) == "up"
    for number in (1, 2, 3):
        os.kill(process.pid, signal.SIGUSR1)
        assert line_of(process) == f"rotated {number}"
    _, errors = process.communicate("")
    assert process.returncode == 0
    assert "SIGUSR1: no new epoch was made (OSError)" in errors
    assert "secret word" not in errors
    assert "Traceback" not in errors


def test_a_signal_during_the_start_is_kept_for_later(start: Any) -> None:
    process = start(
        "print('early', flush=True)\nsys.stdin.readline()\n"
        + ROTATING
        + "sys.stdin.read()"
    )
    assert line_of(process) == "early"
    os.kill(process.pid, signal.SIGUSR1)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert line_of(process) == "rotated 1"
    process.communicate("")
    assert process.returncode == 0


def test_a_signal_to_the_whole_group_ends_no_child(start: Any) -> None:
    process = start(
        "child = subprocess.Popen([sys.executable, '-c',"
        " 'import sys; print(1, flush=True); sys.stdin.read()'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        + ROTATING
        + "sys.stdin.readline()\nchild.communicate()\n"
        "print('child', child.returncode, flush=True)\nsys.stdin.read()"
    )
    assert process.stdin is not None
    # The child is up when the parent has got its line, and the thread waits by then or
    # finds the signal pending.
    while True:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists() or children.read_text().strip():
            break
    os.killpg(process.pid, signal.SIGUSR1)
    assert line_of(process) == "rotated 1"
    process.stdin.write("\n")
    process.stdin.flush()
    assert line_of(process) == "child 0"
    process.communicate("")
    assert process.returncode == 0


def test_other_signals_do_what_they_did(start: Any) -> None:
    # Under nohup it would be ignored from the beginning.
    usual = "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    process = start(usual + ROTATING + "print('up', flush=True)\nsys.stdin.read()")
    assert line_of(process) == "up"
    os.kill(process.pid, signal.SIGHUP)
    assert process.wait(60) == -signal.SIGHUP
