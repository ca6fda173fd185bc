"""``sg-vllm settings``: what is in effect here, and where each value came from.

Reads what a server and a client started here would read. Neither vLLM nor a server has
to be there, and no secret is shown.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

import click

from stainedglass_output_protection.apps.chat.plain_text import (
    print_what_can_be_printed,
)
from stainedglass_output_protection.apps.unknown_variables import unknown_variables
from stainedglass_output_protection.errors import ConfigurationError

_PREFIX: Final = "SG_"
# Of an option of another type the value may be a secret.
_SHOWN_TYPES: Final = (
    *(click.Path, click.Choice, click.types.IntParamType),
    *(click.types.FloatParamType, click.types.BoolParamType),
)


class Setting(NamedTuple):
    """One variable as it is in effect."""

    name: str
    value: str
    source: str


class Part(NamedTuple):
    """What one kind of program reads; ``settings`` is None if that is not known."""

    name: str
    settings: list[Setting] | None
    problem: str = ""
    note: str = ""


@click.command("settings")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def settings(context: click.Context, *, as_json: bool) -> None:
    """Print the effective settings and where each came from.

    Ends with status 2 if a value is wrong. A variable that begins with SG_ and is read
    by nothing is named.
    """
    print_what_can_be_printed()
    parts = [_server(), _client(), _of_commands(context)]
    unknown = unknown_variables()
    if as_json:
        click.echo(json.dumps(_as_object(parts, unknown), indent=2))
    else:
        for part in parts:
            _print(part)
        for sentence in unknown:
            click.echo(f"sg-vllm: {sentence}", err=True)
    problems = [part.problem for part in parts if part.problem]
    if problems:
        if not as_json:
            click.echo(f"sg-vllm: {' '.join(problems)}", err=True)
        sys.exit(2)


def _server() -> Part:
    try:
        from stainedglass_output_protection.hosting.settings import load_settings
    except ModuleNotFoundError as error:
        note = (
            f"not shown and not checked: {error.name} is not installed. Install the "
            "extra [server]: pip install '.[server]' in the checkout of this package"
        )
        return Part("server", None, note=note)
    try:
        return Part("server", [Setting(*item) for item in load_settings().described()])
    except ConfigurationError as error:
        return Part("server", None, problem=str(error))


def _client() -> Part:
    from stainedglass_output_protection.client.settings import described_settings

    try:
        return Part("client", [Setting(*item) for item in described_settings()])
    except ConfigurationError as error:
        return Part("client", None, problem=str(error))


def _of_commands(context: click.Context) -> Part:
    """Return the variables that stand for options of our commands."""
    found: dict[str, Setting] = {}
    problems = []
    for command in _commands(context):
        for option in command.params:
            names = option.envvar
            for name in [names] if isinstance(names, str) else names or ():
                if not name.startswith(_PREFIX):
                    continue
                try:
                    found[name] = _of_option(option, name, context)
                except click.BadParameter:
                    # Its own words show the value, which may be a pasted secret.
                    problems.append(
                        f"{name} is not what {option.opts[0]} takes: see "
                        f"sg-vllm {command.name} --help."
                    )
    settings = [found[name] for name in sorted(found)]
    return Part("commands", settings, problem=" ".join(problems))


def _commands(context: click.Context) -> Iterator[click.Command]:
    group = context.find_root().command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        try:
            command = group.get_command(context, name)
        except ImportError:
            continue  # Its extra is missing, so nothing reads its variables.
        if command is not None:
            yield command


def _of_option(option: click.Parameter, name: str, context: click.Context) -> Setting:
    value = option.type_cast_value(context, option.value_from_envvar(context))
    if value is None:
        return Setting(name, "not set", "default")
    shows = isinstance(option.type, _SHOWN_TYPES)
    return Setting(name, str(value) if shows else "set", "environment")


def _print(part: Part) -> None:
    click.echo(f"{part.name}:")
    if part.note:
        click.echo(f"  {part.note}")
    if part.problem:
        click.echo("  a value is wrong: see the end")
    if part.settings == []:
        click.echo("  none")
    for name, value, source in part.settings or ():
        click.echo(f"  {name}={value} ({source})")


def _as_object(parts: list[Part], unknown: list[str]) -> dict[str, object]:
    found: dict[str, object] = {
        part.name: part.settings and [item._asdict() for item in part.settings]
        for part in parts
    }
    return {
        **found,
        "notes": [f"{part.name}: {part.note}" for part in parts if part.note],
        "unknown": unknown,
        "problems": [part.problem for part in parts if part.problem],
    }
