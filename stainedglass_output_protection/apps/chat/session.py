"""One session at the terminal: prompts, commands, and what a key press stops."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import click

from stainedglass_output_protection.apps.chat.conversation import (
    AnswerError,
    Conversation,
)
from stainedglass_output_protection.apps.chat.failures import told_as_answer_errors
from stainedglass_output_protection.apps.chat.plain_text import plain_text
from stainedglass_output_protection.apps.chat.screen import Screen
from stainedglass_output_protection.apps.chat.wire import Wire, observed

_PROMPT: Final = "> "
_HELP: Final = (
    "/new begins a new conversation, /wire shows what the network sees or no longer, "
    "/quit or Ctrl-D ends, Ctrl-C stops an answer."
)

MakeClient = Callable[[Callable[[Any, Any], Any]], Any]


class Session:
    """Asks one server, for as long as the block lasts.

    ``make_client`` is given what observes a transport, and returns a protected client.
    """

    def __init__(
        self,
        make_client: MakeClient,
        base_url: str,
        *,
        model: str | None,
        system: str | None,
        show_wire: bool,
    ) -> None:
        self._wire = Wire()
        self._library: Any = None
        self._base_url = base_url
        self._client = make_client(self._observed)
        self._conversation = Conversation(
            self._client, base_url, model=model, system=system
        )
        self._screen = Screen(self._wire if show_wire else None)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()

    def answer_once(self, question: str) -> int:
        """Ask one question and print the answer; return the exit status."""
        try:
            self._answer(question)
        except AnswerError as error:
            _tell(error)
            return 1
        return 0

    def talk(self) -> None:
        """Ask what is typed, until there is no more."""
        _use_line_editing()
        self._screen.note("Ctrl-D ends, /help says more.")
        while True:
            try:
                line = input(_PROMPT).encode("utf-8", "replace").decode().strip()
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:
                click.echo()
                continue
            if line == "/quit":
                return
            if line.startswith("/"):
                self._obey(line)
            elif line:
                self._answer_or_tell(line)

    def _obey(self, command: str) -> None:
        if command == "/help":
            self._screen.note(_HELP)
        elif command == "/new":
            self._conversation.forget()
            self._screen.note("This is a new conversation.")
        elif command == "/wire":
            self._screen.wire = None if self._screen.wire else self._wire
        else:
            self._screen.note(f"There is no {command}. {_HELP}")

    def _answer_or_tell(self, question: str) -> None:
        try:
            self._answer(question)
        except AnswerError as error:
            click.echo()
            _tell(error)
        except KeyboardInterrupt:
            click.echo()
            self._screen.note("Stopped. This question was not kept.")

    def _answer(self, question: str) -> None:
        self._screen.begin(question)
        with told_as_answer_errors(self._library, self._base_url):
            for words in self._conversation.ask(question):
                self._screen.show(words)
        self._screen.end()

    def _observed(self, library: Any, transport: Any) -> Any:
        self._library = library
        return observed(library, transport, self._wire)


def _tell(error: AnswerError) -> None:
    # Some of the words may be those of whoever is on the way.
    sentence = " ".join(plain_text(str(error)).split())
    click.echo(f"sg-vllm: {sentence}", err=True)


def _use_line_editing() -> None:
    try:
        import_module("readline")
    except ImportError:
        return  # Windows has its own.
