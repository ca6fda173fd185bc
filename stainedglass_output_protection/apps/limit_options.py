"""The options by which proxy and sidecar bound what they pass on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Option = Callable[[_Command], _Command]


def seconds(name: str, parameter: str, default: float, words: str) -> _Option[Any]:
    """Return an option that takes a finite number of seconds, above zero."""
    return click.option(
        name,
        parameter,
        default=default,
        show_default=True,
        type=click.FloatRange(0.001),
        callback=_finite,
        help=words,
    )


def max_request() -> _Option[Any]:
    """Return the option for the largest request, in MiB."""
    return click.option(
        "--max-request",
        "max_request",
        default=64,
        show_default=True,
        type=click.IntRange(1, 1024),
        help="The largest request, in MiB.",
    )


def max_running() -> _Option[Any]:
    """Return the option for the number of requests at one time."""
    return click.option(
        "--max-running",
        default=1000,
        show_default=True,
        type=click.IntRange(1, 30000),
        help="How many requests may run at one time, as far as open files allow "
        "(ulimit -n).",
    )


def grace(default: int, *, who: str) -> _Option[Any]:
    """Return the option for the seconds that answers get when ``who`` is stopped."""
    return click.option(
        "--grace",
        "grace_s",
        default=default,
        show_default=True,
        type=click.IntRange(0, 3600),
        help=f"Seconds that running answers get when {who} is stopped.",
    )


def _finite(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter("a finite number of seconds is needed.")
    return value
