"""``sg-vllm chat`` at a terminal: what is typed, what is shown, what keys stop."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import pytest

from tests.apps.chat.answers import answering, asked_messages, delta_event
from tests.client.fake_server import FakeServer, serve
from tests.client.sealed_server import SealedServer

# A terminal's keys go to the group of processes that it controls.
_PROGRAM = (
    "import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "from stainedglass_output_protection.apps.cli import main; main()"
)
_LIMIT_S = 60.0
CTRL_C, CTRL_D = "\x03", "\x04"
DIM = "\x1b[2m"


class Terminal:
    """A terminal with ``sg-vllm chat`` in it."""

    def __init__(self, server: FakeServer, columns: int, *options: str) -> None:
        self._outer, inner = pty.openpty()
        size = struct.pack("HHHH", 40, columns, 0, 0)
        fcntl.ioctl(inner, termios.TIOCSWINSZ, size)
        ours = ("SG_", "COLUMNS", "LINES", "TERM")
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(ours) and not name.lower().endswith("_proxy")
        }
        arguments = [server.base_url, "--identity", server.fingerprint, *options]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "chat", *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**environment, "TERM": "dumb"},
        )
        os.close(inner)
        self._unread = ""

    def type(self, text: str) -> None:
        os.write(self._outer, text.encode())

    def until(self, pattern: str) -> str:
        """Return what is shown up to the first match of ``pattern``, that included."""
        ends = time.monotonic() + _LIMIT_S
        while (found := re.search(pattern, self._unread)) is None:
            ready, _, _ = select.select([self._outer], [], [], ends - time.monotonic())
            assert ready, f"no {pattern!r} in {self._unread!r}"
            self._unread += self._read()
        shown = self._unread[: found.end()]
        self._unread = self._unread[found.end() :]
        return shown.replace("\r\n", "\n")

    def interrupt(self) -> None:
        """Press Ctrl-C at a prompt, until there is another one.

        What is pressed in the very moment in which readline shows a prompt, it notices
        with the next key.
        """
        for _ in range(12):
            self.type(CTRL_C)
            if select.select([self._outer], [], [], _LIMIT_S / 12)[0]:
                break
        self.until("> $")

    def ended(self) -> int:
        return self._process.wait(timeout=_LIMIT_S)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._outer)

    def _read(self) -> str:
        try:
            data = os.read(self._outer, 65536)
        except OSError:  # Linux says so when the other side has closed.
            data = b""
        assert data, f"the terminal has ended after {self._unread!r}"
        return data.decode()


Open = Callable[..., Terminal]


@pytest.fixture
def terminal() -> Iterator[Open]:
    opened: list[Terminal] = []

    def begin(server: FakeServer, *options: str, columns: int = 200) -> Terminal:
        opened.append(Terminal(server, columns, *options))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()


def test_a_conversation_remembers_what_was_said_until_a_new_one(
    terminal: Open,
) -> None:
    with serve(answering(delta_event(content="Yes."))) as server:
        chat = terminal(server)
        for line in ("One?\n", "Two?\n", "/new\n", "Three?\n"):
            chat.until("> $")
            chat.type(line)
            chat.until(r"Yes\.\r\n" if "?" in line else "new conversation")
        chat.until("> $")
        chat.type(CTRL_D)
        assert chat.ended() == 0
    assert isinstance(server, SealedServer)
    asked = [[m["content"] for m in messages] for messages in asked_messages(server)]
    assert asked == [["One?"], ["One?", "Yes.", "Two?"], ["Three?"]]


def test_reasoning_is_dimmed_and_the_answer_is_not(terminal: Open) -> None:
    events = [delta_event(reasoning_content="hm"), delta_event(content="Yes")]
    with serve(answering(*events)) as server:
        chat = terminal(server)
        chat.until("> $")
        chat.type("x?\n")
        shown = chat.until("Yes")
        assert f"{DIM}hm\x1b[0m" in shown
        assert shown.endswith("\n\nYes")
        chat.until("> $")
        chat.type("/quit\n")
        assert chat.ended() == 0


def test_ctrl_c_stops_an_answer_and_keeps_the_session(terminal: Open) -> None:
    server = answering(*(delta_event(content=f"w{n} ") for n in range(100)))
    server.pause_s = 30
    with serve(server):
        chat = terminal(server, "--model", "m")
        chat.until("> $")
        chat.type("Go\n")
        chat.until("w0 ")
        chat.type(CTRL_C)
        assert "w1" not in chat.until("Stopped")
        assert server.disconnected.wait(_LIMIT_S)
        chat.until("> $")
        chat.interrupt()
        server.pause_s = 0
        chat.type("Again\n")
        chat.until("w99")
        chat.until("> $")
        chat.type(CTRL_D)
        assert chat.ended() == 0
    last = [message["content"] for message in asked_messages(server)[-1]]
    assert last == ["Again"]


def test_an_error_is_told_and_the_session_goes_on(terminal: Open) -> None:
    server = answering(delta_event(content="Yes."))
    honest = server.app.answer
    with serve(server):
        chat = terminal(server, "--model", "m")
        chat.until("> $")
        server.tamper = lambda wire: type(wire)(wire.status, wire.headers, [])
        chat.type("One?\n")
        assert "Traceback" not in chat.until("sg-vllm: TruncatedError")
        chat.until("> $")
        server.tamper = lambda wire: wire
        server.app.answer = honest
        chat.type("Two?\n")
        chat.until(r"Yes\.")
        chat.until("> $")
        chat.type(CTRL_D)
        assert chat.ended() == 0
    last = [message["content"] for message in asked_messages(server)[-1]]
    assert last == ["Two?"]


def test_help_and_commands_that_are_none(terminal: Open) -> None:
    with serve(SealedServer()) as server:
        chat = terminal(server)
        chat.until("> $")
        chat.type("/help\n")
        assert "Ctrl-C stops" in chat.until("> $")
        chat.type("/dance\n")
        assert "There is no /dance" in chat.until("> $")
        chat.type(CTRL_D)
        assert chat.ended() == 0
    assert server.received == []


@pytest.mark.parametrize("columns", [200, 80, 30, 1])
def test_the_wire_fits_beside_the_words_or_above_them(
    terminal: Open, columns: int
) -> None:
    with serve(
        answering(delta_event(content="Grüße\n"), delta_event(content="!"))
    ) as server:
        chat = terminal(server, columns=columns)
        chat.until("> $")
        chat.type("/wire\n")
        chat.until("> $")
        chat.type("Hi\n")
        shown = chat.until("Grüße\r?\n!\r?\n")
        chat.until("> $")
        chat.type(CTRL_D)
        assert chat.ended() == 0
    rows = [line for line in shown.splitlines() if " │ " in line]
    if columns >= 72:
        seen, read = zip(*(row.split(" │ ") for row in rows), strict=True)
        assert read == ("Hi", "Grüße⏎", "!", "", "")
        assert {len(left) for left in seen} == {columns * 3 // 5}
        assert seen[0].startswith("POST /v1/chat/completions ")
        assert "sgop1." in seen[1]
    else:
        assert rows == []
        assert re.search(r"^written Hi$", shown, re.MULTILINE)
        assert re.search(r"^read    Grüße⏎$", shown, re.MULTILINE)
        wire = [line for line in shown.splitlines() if line.startswith("network ")]
        assert len(wire) == 5
