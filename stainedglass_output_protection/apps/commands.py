"""The commands of ``sg-vllm``. Each is imported when it runs."""

from __future__ import annotations

import importlib
from typing import Final

import click

from stainedglass_output_protection import __version__
from stainedglass_output_protection.errors import ConfigurationError

# Where each is (module and function), and what it is for.
_COMMANDS: Final = {
    "chat": (
        "chat.command",
        "chat",
        "Talk to a server, and see what the network sees.",
    ),
    "doctor": (
        "doctor.command",
        "doctor",
        "Check what lies between here and a server.",
    ),
    "keys": ("keys", "keys", "Make and check the files with the server's keys."),
    "open": (
        "saved_answers",
        "open_saved",
        "Open a saved answer by its recovery token.",
    ),
    "proxy": (
        "proxy.command",
        "proxy",
        "Seal the requests of programs on this machine.",
    ),
    "settings": ("settings", "settings", "Print the effective settings."),
    "sidecar": (
        "sidecar.command",
        "sidecar",
        "Seal the answers of any engine, from in front of it.",
    ),
}
_SERVE = "Serve a model: takes every option of `vllm serve`."


class _OurCommands(click.Group):
    """Has our commands, and says of every other one of vLLM's why it is not there."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *_COMMANDS])

    def format_commands(
        self, context: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands without importing any: their extras may be missing."""
        texts = {name: text for name, (_, _, text) in _COMMANDS.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted([*texts.items(), ("serve", _SERVE)]))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        command = super().get_command(context, name)
        if command is not None or name.startswith("-"):
            return command
        if name not in _COMMANDS:
            from stainedglass_output_protection.apps.vllm_commands import refusal_of

            raise ConfigurationError(refusal_of(name))
        where, function, _ = _COMMANDS[name]
        module = importlib.import_module(f"{__package__}.{where}")
        found: click.Command = getattr(module, function)
        return found


@click.group(cls=_OurCommands)
@click.version_option(__version__, package_name="stainedglass-output-protection")
def sg_vllm() -> None:
    """Run vLLM so that only the one who asks can read its answers."""


@sg_vllm.command(
    help=_SERVE,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    from stainedglass_output_protection.vllm.entrypoint import main

    main(["serve", *arguments])
