"""vLLM's own ``vllm serve``, which a vLLM build of another name cannot start itself.

Nothing of the protection is imported here: it comes by vLLM's plugins or not at all.
"""

from __future__ import annotations


def main() -> None:
    """Run the serve subcommand as vLLM's command line does."""
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    parser = FlexibleArgumentParser(prog="vllm")
    command = ServeSubcommand()
    command.subparser_init(parser.add_subparsers(required=True, dest="subparser"))
    options = parser.parse_args()
    command.validate(options)
    command.cmd(options)


if __name__ == "__main__":
    main()
