"""Shows a chat: the answer as it comes, or beside it what the network sees."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from typing import Final

import click

from stainedglass_output_protection.apps.chat.plain_text import plain_text
from stainedglass_output_protection.apps.chat.wire import Wire, shortened
from stainedglass_output_protection.apps.chat.words import Words

_MIN_COLUMNS: Final = 72
_BELOW_WIDTH: Final = 100
_SEEN, _READ, _WRITTEN = "network", "read", "written"


class Screen:
    """Prints the pieces of one answer after the other.

    On a terminal reasoning is shown dimmed; else the answer is printed alone. With a
    ``wire``, every event is shown as it came, beside what was read of it.
    """

    def __init__(self, wire: Wire | None) -> None:
        self.wire = wire
        self._is_terminal = sys.stdout.isatty()
        self.begin("")

    def begin(self, question: str) -> None:
        """Take what is asked now."""
        self._question = question
        self._answer: list[str] = []
        self._is_thinking = False
        self._has_shown_request = False

    def show(self, words: Iterable[Words]) -> None:
        """Show the words of one event."""
        parts = [part._replace(text=plain_text(part.text)) for part in words]
        self._answer += [part.text for part in parts if not part.is_reasoning]
        if self.wire is not None:
            self._show_wire(self.wire.until_frame(), parts)
            return
        for part in parts:
            if part.is_reasoning and not self._is_terminal:
                continue
            if self._is_thinking and not part.is_reasoning:
                click.echo("\n")
            self._is_thinking = part.is_reasoning
            click.echo(_styled(part), nl=False)

    def end(self) -> None:
        """Finish a whole answer."""
        if self.wire is not None:
            self._show_wire(self.wire.rest(), [])
            click.echo()
            click.echo("".join(self._answer))
        elif not "".join(self._answer[-1:]).endswith("\n"):
            click.echo()

    def note(self, sentence: str) -> None:
        """Say something that is not part of an answer."""
        click.echo(click.style(plain_text(sentence), dim=True), err=True)

    def _show_wire(self, blocks: Iterable[bytes], parts: list[Words]) -> None:
        if self.wire is not None and not self._has_shown_request:
            self._has_shown_request = True
            label, body = self.wire.request_line, self.wire.request
            self._row(body, _WRITTEN, plain_text(self._question), label)
        *before, last = [*blocks] or [b""]
        for block in before:
            self._row(block, _READ, "")
        text = "".join(map(_styled, parts))
        if last or text:
            self._row(last, _READ, text)

    def _row(self, seen: bytes, name: str, text: str, label: str = "") -> None:
        """Show bytes and words side by side, or one below the other."""
        text = text.replace("\n", "⏎")
        width = shutil.get_terminal_size().columns
        if self._is_terminal and width >= _MIN_COLUMNS:
            half = width * 3 // 5
            left = shortened(seen, half, label) if seen else ""
            click.echo(f"{left.ljust(half)} │ {text}")
            return
        room = width if self._is_terminal else _BELOW_WIDTH
        if seen:
            click.echo(f"{_SEEN:8}{shortened(seen, max(room - 8, 16), label)}")
        if text:
            click.echo(f"{name:8}{text}")


def _styled(part: Words) -> str:
    return click.style(part.text, dim=True) if part.is_reasoning else part.text
