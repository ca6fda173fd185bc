"""The two secrets that the proxy is told: its own token, and the server's API key."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from stainedglass_output_protection.apps.secret_files import read_secret_file
from stainedglass_output_protection.errors import ConfigurationError

_MIN_TOKEN: Final = 16
_MAX_SIZE: Final = 8192


def from_environment_only(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    """Refuse a secret on the command line, where other users see it."""
    source = context.get_parameter_source(parameter.name or "")
    if source is click.core.ParameterSource.COMMANDLINE:
        raise ConfigurationError(
            "A secret is not given on the command line, where others can read it: put "
            "it in a file."
        )
    return value


def read_token(path: Path | None, variable: str | None) -> str | None:
    """Return the token that programs have to send, or None.

    Raises:
        ConfigurationError: it cannot be read, others may read it, or it is too short.
    """
    token = _read(path, variable, "--token-file", "SG_PROXY_TOKEN")
    if token is not None and len(token) < _MIN_TOKEN:
        raise ConfigurationError(
            f"The proxy's token needs at least {_MIN_TOKEN} characters: make one with "
            "`openssl rand -hex 32`."
        )
    return token


def read_upstream_key(path: Path | None, variable: str | None) -> str | None:
    """Return the API key that goes to the server, or None.

    Raises:
        ConfigurationError: it cannot be read, or others may read it.
    """
    return _read(path, variable, "--api-key-file", "SG_UPSTREAM_API_KEY")


def _read(
    path: Path | None, variable: str | None, option: str, name: str
) -> str | None:
    if path is None and variable is None:
        return None
    where = name
    text = variable or ""
    if path is not None:
        where = f"{option} {path}"
        text = read_secret_file(path, option, limit=_MAX_SIZE).decode("latin-1")
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigurationError(
            f"{where} must hold one word of printable ASCII characters, and nothing "
            "else."
        )
    return text
