"""``sg-vllm open``: read a stored answer with its recovery token.

Needs no server, no key of one and no clock. Nothing of an answer that is not whole is
written, unless it is asked for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, NoReturn

import click

from stainedglass_output_protection.apps.chat.plain_text import (
    plain_text,
    print_what_can_be_printed,
)
from stainedglass_output_protection.apps.chat.words import (
    words_in_events,
    words_in_json,
)
from stainedglass_output_protection.apps.secret_files import read_secret_file
from stainedglass_output_protection.client.saved_answer import SavedAnswer
from stainedglass_output_protection.errors import (
    ConfigurationError,
    DecryptionError,
    MalformedFrameError,
    ResponseError,
    SequenceError,
    TrailingDataError,
    TruncatedError,
)
from stainedglass_output_protection.protocol.recovery import (
    RECOVERY_PREFIX,
    RecoveryToken,
)

TOKEN_VARIABLE: Final = "SG_RECOVERY_TOKEN"  # noqa: S105
MAX_FILE: Final = 1024 * 1024 * 1024
_MAX_TOKEN_FILE = 1024
_STANDARD_INPUT = "-"
_EDITED: Final = "The copy was edited, or lacks events: look for another one."
# The advice of a live answer is to ask again; a stored one can only be looked for.
_ADVICE: Final[dict[type[ResponseError], str]] = {
    TruncatedError: "Look for a whole copy; --partial prints what there is.",
    TrailingDataError: "The file holds more than one answer, or an event twice: cut it "
    "apart.",
    SequenceError: _EDITED,
    DecryptionError: _EDITED,
    MalformedFrameError: "The copy was cut or edited: look for another one.",
}


@click.command("open")
@click.argument("file")
@click.option(
    "--token",
    envvar=TOKEN_VARIABLE,
    metavar="TOKEN",
    help=(
        "The answer's recovery token. Others on this machine can see it in the list of "
        f"processes: on a shared one use --token-file, or set {TOKEN_VARIABLE}."
    ),
)
@click.option("--token-file", metavar="FILE", help="Read the token here; - for stdin.")
@click.option("--text", is_flag=True, help="Print the written words only.")
@click.option(
    "--partial", is_flag=True, help="Print what opens of an answer that is not whole."
)
def open_saved(
    file: str, token: str | None, token_file: str | None, *, text: bool, partial: bool
) -> None:
    """Open a stored copy of a sealed answer and print it as it was.

    FILE is the body as a gateway, a log or a database has it, before it was opened: JSON, events or
    octets; - for stdin. Ends with status 0 if the answer is whole, with 1 if it is not or
    the token is another answer's, with 2 if there is nothing to begin with.
    """
    if token_file is not None:
        token = _token_from(token_file, file)
    if token is None:
        raise ConfigurationError(
            f"Give the answer's token: --token, --token-file or {TOKEN_VARIABLE}."
        )
    answer = SavedAnswer(RecoveryToken.parse(token.strip()))
    opened = bytearray()
    failure: ResponseError | None = None
    try:
        for piece in answer.open(_read(file, MAX_FILE)):
            opened += piece
    except ResponseError as error:
        failure = error
    if failure is None or (partial and opened):
        body = bytes(opened)
        _write(_words_of(answer, body) if text else body)
    if failure is not None:
        rest = (
            " What was printed is not the whole answer." if partial and opened else ""
        )
        _fail(f"{type(failure).__name__}: {_words_about(failure)}{rest}")


def _words_about(failure: ResponseError) -> str:
    words = str(failure).removesuffix(failure.advice).rstrip()
    return " ".join(filter(None, [words, _ADVICE.get(type(failure), "")]))


def _token_from(token_file: str, file: str) -> str:
    if click.get_current_context().get_parameter_source("token") is (
        click.core.ParameterSource.COMMANDLINE
    ):
        raise ConfigurationError("Give one of --token and --token-file.")
    if token_file == file == _STANDARD_INPUT:
        raise ConfigurationError("Only one of FILE and --token-file can be stdin.")
    if token_file == _STANDARD_INPUT:
        data = _read(token_file, _MAX_TOKEN_FILE)
    else:
        path = Path(token_file)
        data = read_secret_file(path, "--token-file", limit=_MAX_TOKEN_FILE)
    return data.decode("utf-8", "replace")


def _read(name: str, limit: int) -> bytes:
    try:
        with click.open_file(name, "rb") as source:
            data: bytes = source.read(limit + 1)
    except OSError as error:
        if RECOVERY_PREFIX in name:
            raise ConfigurationError(
                "A recovery token stands where a file's name is needed: the token goes "
                f"into a file for --token-file, or into {TOKEN_VARIABLE}."
            ) from None
        raise ConfigurationError(
            f"The file {name} cannot be read ({error.strerror})."
        ) from None
    if len(data) > limit:
        raise ConfigurationError(f"The file {name} is larger than {limit} bytes.")
    return data


def _words_of(answer: SavedAnswer, body: bytes) -> bytes:
    """Return what the model has written; of several choices one after the other."""
    if answer.status is not None and answer.status >= 400:
        _fail(
            f"The answer is an error, of status {answer.status}, and has no written "
            "words: leave --text out to read it."
        )
    is_stream = (answer.content_type or "").startswith("text/event-stream")
    choices: dict[int, list[str]] = {}
    for words in words_in_events(body) if is_stream else words_in_json(body):
        if not words.is_reasoning:
            choices.setdefault(words.choice, []).append(words.text)
    if not choices:
        _fail("The answer has no written words: leave --text out to see it.")
    written = ("".join(parts) for _, parts in sorted(choices.items()))
    return ("\n\n".join(written) + "\n").encode("utf-8", "replace")


def _write(data: bytes) -> None:
    out = sys.stdout
    if out is None or sys.__stdout__ is None:
        _fail("Standard output is closed.")
    if out.isatty():
        try:
            words = data.decode("utf-8")
        except UnicodeDecodeError:
            _fail("The answer is not text. Send it to a file: add > NAME.")
        print_what_can_be_printed()
        # A terminal obeys some of what a model writes.
        click.echo(plain_text(words), nl=not words.endswith("\n"))
        return
    try:
        out.flush()
        out.buffer.write(data)
        out.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _fail(f"The answer cannot be written ({error.strerror}).")


def _fail(message: str) -> NoReturn:
    click.echo(f"sg-vllm: {message}", err=True)
    sys.exit(1)
