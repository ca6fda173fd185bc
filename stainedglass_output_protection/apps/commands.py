"""The commands of ``sg-vllm``. Each imports what it needs when it runs."""

from __future__ import annotations

import click

from stainedglass_output_protection import __version__
from stainedglass_output_protection.apps.keys import keys
from stainedglass_output_protection.errors import ConfigurationError


class _OurCommands(click.Group):
    """Says of every command of vLLM's why it is not there."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        command = super().get_command(context, name)
        if command is None and not name.startswith("-"):
            from stainedglass_output_protection.vllm.subcommands import refusal_of

            raise ConfigurationError(refusal_of(name))
        return command


@click.group(cls=_OurCommands)
@click.version_option(__version__, package_name="stainedglass-output-protection")
def sg_vllm() -> None:
    """Run vLLM so that only the one who asks can read its answers."""


@sg_vllm.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Serve a model: takes every option of `vllm serve`."""
    from stainedglass_output_protection.vllm.entrypoint import main

    main(["serve", *arguments])


sg_vllm.add_command(keys)
