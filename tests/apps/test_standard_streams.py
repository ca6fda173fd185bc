"""What the commands do when a standard stream is full or was closed before they began."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey

ROOT = Path(__file__).parents[2]
PROGRAM = "from stainedglass_output_protection.apps.cli import main; main()"
PIN = "SHA256:" + "A" * 43
NOBODY = "http://127.0.0.1:1"
needs_a_full_device = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="needs a full device"
)


def run(redirect: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SG_") and not name.lower().endswith("_proxy")
    }
    return subprocess.run(
        [
            *("sh", "-c", f'exec "$0" -c "{PROGRAM}" "$@" {redirect}'),
            *(sys.executable, *arguments),
        ],
        input="a question",
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
        timeout=120,
    )


@needs_a_full_device
@pytest.mark.parametrize(
    ("arguments", "buffering"),
    [
        (("settings",), ""),
        (("settings",), "PYTHONUNBUFFERED=1"),
        (("keys", "show", "KEY"), ""),
        (("keys", "verify", "KEY"), ""),
        (("--help",), ""),
        (("proxy", NOBODY, "--identity", PIN, "--port", "0"), ""),
    ],
)
def test_an_output_that_is_full_is_one_sentence(
    arguments: tuple[str, ...], buffering: str, tmp_path: Path
) -> None:
    key = tmp_path / "identity.pem"
    key.write_bytes(IdentityKey.generate().to_pem())
    key.chmod(0o600)
    words = [str(key) if word == "KEY" else word for word in arguments]
    command = f'exec env {buffering} "$0" -c "{PROGRAM}" "$@" > /dev/full'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "sg-vllm: The output cannot be written, or the input not read (No space left "
        "on device).\n"
    )


@needs_a_full_device
def test_where_no_sentence_can_be_written_the_status_says_it_still() -> None:
    assert run("2> /dev/full", "chat", "no url", "--identity", PIN).returncode == 2
    assert run("2>&-", "chat", "no url", "--identity", PIN).returncode == 2


@pytest.mark.parametrize("redirect", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_was_closed_before_is_no_traceback(redirect: str) -> None:
    chat = run(redirect, "chat", NOBODY, "--identity", PIN)
    # Without a question there is nothing to ask, which is another status.
    assert chat.returncode == (2 if "<&-" in redirect else 1)
    assert "Traceback" not in chat.stderr
    assert chat.stderr.count("\n") == (0 if "2>&-" in redirect else 1)
    assert run(redirect, "settings").returncode == 0


def test_a_closed_input_is_an_empty_one(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sgop1-recovery.short")
    token.chmod(0o600)
    done = run("<&-", "open", "-", "--token-file", str(token))
    assert done.returncode == 2
    assert done.stderr.startswith("sg-vllm: ")
    assert done.stderr.count("\n") == 1
