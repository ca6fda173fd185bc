"""``sg-vllm open``: a stored answer and its token, and every way in which they are bad."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stainedglass_output_protection.apps import cli
from tests import reference
from tests.client.drivers import Driver
from tests.client.fake_server import ANSWER, FakeServer
from tests.client.sealed_server import SealedServer
from tests.vectors.recovery_cases import FRAMES, ONE, STREAM, TOKEN, TWO, stream, unary
from tests.vectors.vocabulary import JSON, Response

ROOT = Path(__file__).parents[2]
PROGRAM = "from stainedglass_output_protection.apps.cli import main; main()"
VARIABLE = "SG_RECOVERY_TOKEN"
STORED = stream(*FRAMES).encode()
OTHER = Response(nonce="another")
OTHER_TOKEN = reference.recovery_token(OTHER.keys, OTHER.head)


class Done:
    """What a command printed, and its status."""

    def __init__(self, status: int, out: bytes, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SG_"):
            monkeypatch.delenv(name)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Run:
    """Run ``sg-vllm open`` in this process."""

    def run(*arguments: object, stdin: bytes = b"") -> Done:
        words = [str(item) for item in arguments]
        monkeypatch.setattr(sys, "argv", ["sg-vllm", "open", *words])
        given = io.BytesIO(stdin)
        monkeypatch.setattr(
            sys, "stdin", SimpleNamespace(buffer=given, read=None, isatty=lambda: False)
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        status = ended.value.code
        assert isinstance(status, int)
        out, err = capfdbinary.readouterr()
        return Done(status, out, err.decode())

    return run


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A file with a sealed stream, which ``TOKEN`` opens."""
    path = tmp_path / "answer.sse"
    path.write_bytes(STORED)
    return path


def sealed_file(tmp_path: Path, server: FakeServer, **asked: Any) -> tuple[Path, str]:
    """Ask a server and keep what the network saw; return the file and the token."""
    answer = Driver("httpx2", False).ask(server, **asked)
    path = tmp_path / "kept"
    path.write_bytes(server.sent[-1].body)
    return path, answer.extensions["output_protection"].recovery_token.reveal()


def test_the_body_is_printed_as_it_was(stored: Path, run: Run) -> None:
    done = run(stored, "--token", TOKEN)
    assert (done.status, done.out, done.err) == (0, STREAM, "")


def test_the_token_comes_from_a_file_or_the_environment(
    stored: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "token"
    kept.write_text(TOKEN + "\n")
    kept.chmod(0o600)
    assert run(stored, "--token-file", kept).out == STREAM
    assert run(stored, "--token-file", "-", stdin=TOKEN.encode()).out == STREAM
    monkeypatch.setenv(VARIABLE, TOKEN)
    assert run(stored).out == STREAM
    assert run("-", stdin=STORED).out == STREAM
    monkeypatch.setenv(VARIABLE, OTHER_TOKEN)
    assert run(stored, "--token", TOKEN).out == STREAM
    assert run(stored, "--token-file", kept).out == STREAM


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("server", [FakeServer, SealedServer])
def test_the_written_words_of_a_server_s_answer(
    tmp_path: Path, run: Run, server: type[FakeServer], *, is_stream: bool
) -> None:
    path, token = sealed_file(tmp_path, server(), stream=is_stream)
    done = run(path, "--text", "--token", token)
    assert (done.status, done.err) == (0, "")
    assert done.out.decode() == ANSWER + "\n"


def saved(payloads: list[bytes], content_type: bytes, status: int = 200) -> bytes:
    answer = Response()
    frames = answer.frames(*payloads, status=status, content_type=content_type)
    is_json = content_type == JSON
    return (unary(frames[0]) if is_json else stream(*frames)).encode()


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


DELTA = {"type": "response.output_text.delta", "delta": "Hi"}
BODIES: dict[str, tuple[list[Any], str]] = {
    "two choices": (
        [
            {"choices": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}]},
            {"choices": [{"index": 1, "text": "d"}, {"index": 0, "text": "c"}]},
        ],
        "ac\n\nbd\n",
    ),
    "responses": (
        [DELTA, DELTA, {"type": "response.output_text.done", "text": "HiHi"}],
        "HiHi\n",
    ),
    "messages": (
        [
            {"type": "content_block_start", "content_block": {"text": ""}},
            {"type": "content_block_delta", "delta": {"thinking": "hm"}},
            {"type": "content_block_delta", "delta": {"text": "Hi"}},
        ],
        "Hi\n",
    ),
    "a whole message": ([{"type": "message", "content": [{"text": "Hi"}]}], "Hi\n"),
    "a whole response": (
        [{"object": "response", "output": [{"content": [{"text": "Hi"}]}]}],
        "Hi\n",
    ),
    "reasoning": (
        [
            {"choices": [{"delta": {"reasoning_content": "hm"}}]},
            {"choices": [{"delta": {"content": "Hi", "reasoning": None}}]},
        ],
        "Hi\n",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_the_written_words_of_every_kind_of_answer(
    name: str, tmp_path: Path, run: Run
) -> None:
    values, expected = BODIES[name]
    path = tmp_path / "kept"
    if name.startswith("a whole"):
        path.write_bytes(saved([json.dumps(values[0]).encode()], JSON))
    else:
        events = [*map(event, values), b"data: [DONE]\n\n"]
        path.write_bytes(saved(events, b"text/event-stream; charset=utf-8"))
    done = run(path, "--text", "--token", TOKEN)
    assert (done.status, done.out.decode()) == (0, expected)


def test_an_error_and_an_answer_without_words_have_no_text(
    tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "kept"
    body = b'{"error":{"message":"x"}}'
    path.write_bytes(saved([body], JSON, status=400))
    assert run(path, "--token", TOKEN).out == body
    refused = run(path, "--text", "--token", TOKEN)
    assert (refused.status, refused.out) == (1, b"")
    assert "an error, of status 400" in refused.err
    path.write_bytes(saved([b'{"data":[{"embedding":"AAAA"}]}'], JSON))
    empty = run(path, "--text", "--token", TOKEN)
    assert (empty.status, empty.out) == (1, b"")
    assert "no written words" in empty.err


CUT = stream(*FRAMES[:2]).encode()
# What is stored, the token, the status, and words of the one sentence.
BAD = {
    "cut": (CUT, TOKEN, 1, "TruncatedError"),
    "cut in its first event": (STORED[:60], TOKEN, 1, "TruncatedError"),
    "another's token": (STORED, OTHER_TOKEN, 1, "ForeignResponseError: The token is"),
    "appended": (STORED + CUT, TOKEN, 1, "TrailingDataError"),
    "edited": (STORED.replace(b"AAAAA", b"AAAAB", 1), TOKEN, 1, "Error: "),
    "empty": (b"", TOKEN, 1, "no sealed answer"),
    "opened already": (STREAM, TOKEN, 1, "no sealed answer"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), TOKEN, 1, "no sealed answer"),
    "no token": (STORED, "AAAA", 2, "recovery token is not whole"),
    "half a token": (STORED, TOKEN[:60], 2, "recovery token is not whole"),
    "an empty token": (STORED, "", 2, "recovery token is not whole"),
    "a later token": (STORED, "sgop9-recovery.AAAA", 2, "another version"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_bad_is_one_sentence_and_nothing_is_printed(
    name: str, tmp_path: Path, run: Run
) -> None:
    content, token, status, words = BAD[name]
    path = tmp_path / "kept"
    path.write_bytes(content)
    done = run(path, "--token", token)
    assert (done.status, done.out) == (status, b"")
    assert words in done.err
    assert done.err.startswith("sg-vllm: ")
    assert done.err.count("\n") == 1
    assert len(token) < 16 or token.partition(".")[2][:16] not in done.err


def test_a_part_is_printed_only_if_asked_for_and_called_one(
    tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "kept"
    path.write_bytes(CUT)
    done = run(path, "--partial", "--token", TOKEN)
    assert (done.status, done.out) == (1, ONE + TWO)
    assert "TruncatedError" in done.err
    assert "not the whole answer" in done.err
    whole = run(path, "--partial", "--token", OTHER_TOKEN)
    assert (whole.status, whole.out) == (1, b"")
    path.write_bytes(STORED)
    assert run(path, "--partial", "--token", TOKEN).status == 0


def test_a_token_in_the_place_of_a_file_is_not_shown(stored: Path, run: Run) -> None:
    done = run(stored, "--token-file", TOKEN)
    assert (done.status, done.out) == (2, b"")
    assert "a file's name is needed" in done.err
    assert TOKEN[20:40] not in done.err


def test_what_stands_in_the_place_of_a_file_s_name_is_not_shown(
    stored: Path, run: Run
) -> None:
    for secret in ("mysupersecrettoken1234", "x" * 5000):
        done = run(stored, "--token-file", secret)
        assert (done.status, done.out) == (2, b"")
        assert "--token-file: a file's name is needed" in done.err
        assert secret not in done.err


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o666])
def test_a_token_that_others_may_read_or_change_is_refused(
    stored: Path, run: Run, tmp_path: Path, mode: int
) -> None:
    kept = tmp_path / "token"
    kept.write_text(TOKEN)
    kept.chmod(mode)
    done = run(stored, "--token-file", kept)
    assert (done.status, done.out) == (2, b"")
    assert f"others may read or change it. Run: chmod 600 {kept}" in done.err


def test_a_token_that_the_shell_pipes_is_taken(stored: Path) -> None:
    command = f'"$0" -c "{PROGRAM}" open "$1" --token-file <(printf %s "$2")'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, str(stored), TOKEN],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, STREAM, b"")


# JSON that is whole around a frame that is not.
CUT_INSIDE = b'{"choices":[{"delta":{"content":"sgop1.AQIx"}}]}'
ONE_EVENT_LESS = STORED.replace(STORED.split(b"\n\n")[1] + b"\n\n", b"", 1)


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (CUT, "Look for a whole copy"),
        (ONE_EVENT_LESS, "look for another one"),
        (CUT_INSIDE, "was cut or edited: look for another one"),
        (STORED + CUT, "cut it apart"),
        (STREAM, "before it was opened"),
    ],
)
def test_the_advice_is_for_a_stored_answer_not_for_a_live_one(
    content: bytes, advice: str, tmp_path: Path, run: Run
) -> None:
    path = tmp_path / "kept"
    path.write_bytes(content)
    err = run(path, "--token", TOKEN).err
    assert advice in err
    for words in ("base URL", "sk again", "operator", "doctor", "gateway that"):
        assert words not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
@pytest.mark.parametrize("redirect", ["> /dev/full", ">&-"])
def test_an_output_that_takes_nothing(stored: Path, redirect: str) -> None:
    command = f'"$0" -c "{PROGRAM}" "$@" {redirect}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, "open", str(stored), "--token", TOKEN],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("sg-vllm: ")
    assert done.stderr.count("\n") == 1


def test_files_and_options_that_cannot_be_used(
    stored: Path, run: Run, tmp_path: Path
) -> None:
    missing = run(tmp_path / "none", "--token", TOKEN)
    folder = run(tmp_path, "--token", TOKEN)
    for done in (missing, folder):
        assert (done.status, done.out) == (2, b"")
        assert "cannot be read" in done.err
        assert done.err.count("\n") == 1
    large = tmp_path / "large"
    large.write_bytes(b"x" * 5000)
    large.chmod(0o600)
    assert "is larger than" in run(stored, "--token-file", large).err
    without = run(stored)
    assert VARIABLE in without.err
    two = run(stored, "--token", TOKEN, "--token-file", large)
    both_stdin = run("-", "--token-file", "-")
    for done in (without, two, both_stdin):
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert done.err.startswith("sg-vllm: ")


def test_the_help_says_that_others_see_a_token_in_the_list_of_processes(
    run: Run,
) -> None:
    words = " ".join(run("--help").out.decode().split())
    assert "list of processes" in words
    assert VARIABLE in words


def test_a_terminal_is_not_sent_what_it_would_obey(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    body = json.dumps(
        {"choices": [{"message": {"content": "a\x1b[31mb\x1b]0;t\x07c\x9bm\rd"}}]},
        ensure_ascii=False,
    ).encode()
    path.write_bytes(saved([body], JSON))
    outer, inner = pty.openpty()
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-c"),
                "from stainedglass_output_protection.apps.cli import main; main()",
                *("open", str(path), "--text", "--token", TOKEN),
            ],
            stdout=inner,
            check=False,
            timeout=60,
        )
        shown = os.read(outer, 4096)
    finally:
        os.close(inner)
        os.close(outer)
    assert done.returncode == 0
    assert shown.replace(b"\r\n", b"\n") == b"abcd\n"
