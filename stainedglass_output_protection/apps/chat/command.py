"""``sg-vllm chat``: ask a server from the terminal, and see what the network sees."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from stainedglass_output_protection.apps.chat.failures import WRONG_URL
from stainedglass_output_protection.apps.chat.plain_text import (
    print_what_can_be_printed,
)
from stainedglass_output_protection.apps.chat.session import Session
from stainedglass_output_protection.apps.connection_variables import reading_variables
from stainedglass_output_protection.apps.plain_warnings import show_warnings_plainly
from stainedglass_output_protection.apps.secret_files import read_secret_file
from stainedglass_output_protection.apps.unknown_variables import (
    warn_of_unknown_variables,
)
from stainedglass_output_protection.client.factory import plain_protected_client
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.sdks import library_of, plain_client_class
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.constants import PROFILE_SEALED

_TIMEOUT_S: Final = 600.0
_CONNECT_TIMEOUT_S: Final = 10.0
_MAX_KEY_FILE: Final = 4096


@click.command("chat")
@click.argument("url")
@click.option(
    "--identity",
    "pins",
    multiple=True,
    metavar="FINGERPRINT",
    help="The server must have this identity; may be given more than once.",
)
@click.option(
    "--trust-on-first-use",
    is_flag=True,
    help="Accept the identity that answers first, and remember it.",
)
@click.option(
    "--profile",
    type=click.Choice(["sealed", "output"]),
    help="Seal questions and answers (sealed), or answers only (output).",
)
@click.option("--model", help="The model to ask; else the server's first.")
@click.option("--system", help="Instructions to begin with.")
@click.option("--api-key-file", type=click.Path(path_type=Path), help="vLLM's API key.")
@click.option("--show-wire", is_flag=True, help="Show what the network sees, too.")
def chat(
    url: str,
    pins: tuple[str, ...],
    *,
    trust_on_first_use: bool,
    profile: str | None,
    model: str | None,
    system: str | None,
    api_key_file: Path | None,
    show_wire: bool,
) -> None:
    """Talk to the server at URL, such as https://host:8000/v1.

    What is piped in is one question: its answer is printed, and nothing else. Ctrl-C stops an answer, Ctrl-D
    ends. Ends with status 1 if there was no whole answer to what was piped in.
    """
    print_what_can_be_printed()
    show_warnings_plainly()
    warn_of_unknown_variables()
    base_url = _base_url(url)
    settings = ClientSettings.load(
        pins or None,
        profile=profile,
        trust_on_first_use=True if trust_on_first_use else None,
    )
    if (
        settings.profile == PROFILE_SEALED
        and settings.pins is None
        and not settings.trusts_first_use
    ):
        raise ConfigurationError(
            "The server is not known: give --identity with the fingerprint that it "
            "prints when it starts, or set SG_SERVER_IDENTITY. Or trust whoever answers "
            "first, with --trust-on-first-use."
        )
    headers = {} if api_key_file is None else _authorization(api_key_file)
    protection = Protection(settings)
    with reading_variables(_library()):
        session = Session(
            lambda observe: plain_protected_client(
                protection,
                observe=observe,
                headers=headers,
                timeout=_timeouts(),
            ),
            base_url,
            model=_text(model),
            system=_text(system),
            show_wire=show_wire,
        )
    with session:
        if sys.stdin.isatty():
            session.talk()
        else:
            asked = sys.stdin.buffer.read().decode("utf-8", "replace").strip()
            if not asked:
                raise ConfigurationError("Nothing was asked: standard input is empty.")
            sys.exit(session.answer_once(asked))


def _library() -> Any:
    """Return the HTTP library that the client will be of."""
    try:
        return importlib.import_module(library_of(plain_client_class(is_async=False)))
    except ImportError as error:
        raise ConfigurationError(f"{error}.") from None


def _text(words: str | None) -> str | None:
    """Return an argument as text that can be sent: a shell may pass any bytes."""
    return words and words.encode("utf-8", "replace").decode("utf-8")


def _timeouts() -> Any:
    return (_CONNECT_TIMEOUT_S, _TIMEOUT_S, _TIMEOUT_S, _TIMEOUT_S)


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and not (parts.query or parts.fragment)
        usable = usable and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        usable = False
    if not usable or parts.scheme not in ("http", "https") or _text(url) != url:
        raise ConfigurationError(WRONG_URL)
    return url.rstrip("/?#").removesuffix("/v1").rstrip("/") + "/v1"


def _authorization(path: Path) -> dict[str, str]:
    key = read_secret_file(path, "--api-key-file", limit=_MAX_KEY_FILE).strip()
    # Never show it.
    if not key or not all(0x21 <= byte <= 0x7E for byte in key):
        raise ConfigurationError(f"The file {path} does not hold an API key.")
    return {"authorization": f"Bearer {key.decode('ascii')}"}
