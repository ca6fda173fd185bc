"""Shows warnings as the other lines of a command: one sentence, without code."""

from __future__ import annotations

import warnings
from typing import Any

import click


def show_warnings_plainly() -> None:
    """Make every warning of this process one line on standard error."""

    def show(message: Any, *args: Any, **kwargs: Any) -> None:
        click.echo(f"sg-vllm: {message}", err=True)

    warnings.showwarning = show
