"""``serve`` and ``bench`` of vLLM's command line: ``python -m benchmarks.vllm_commands``.

The script ``vllm`` cannot start a build that is distributed under another name. Nothing
of the protection is imported here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Run ``serve MODEL ...`` as ``vllm serve``, or ``bench FILE`` as below."""
    command = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if command == "serve":
        _serve()
    elif command == "bench":
        _bench()
    else:
        raise SystemExit("Say serve or bench.")


def _serve() -> None:
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    parser = FlexibleArgumentParser(prog="vllm")
    command = ServeSubcommand()
    command.subparser_init(parser.add_subparsers(required=True, dest="subparser"))
    options = parser.parse_args(["serve", *sys.argv[1:]])
    command.validate(options)
    command.cmd(options)


def _bench() -> None:
    # One process for all rounds: starting one takes longer than a round. The file holds
    # the arguments of one `vllm bench serve` after the other.
    from vllm.benchmarks.serve import add_cli_args
    from vllm.benchmarks.serve import main as bench_serve
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    for arguments in json.loads(Path(sys.argv[1]).read_text("utf-8")):
        parser = FlexibleArgumentParser(prog="vllm bench serve")
        add_cli_args(parser)
        bench_serve(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
