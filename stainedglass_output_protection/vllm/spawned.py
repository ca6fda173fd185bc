"""What runs first in an API server process that vLLM spawns.

A spawned process imports everything anew, so nothing patched in its parent is left, and
vLLM's plugins may be switched off. It starts in a function of this module instead of
vLLM's: without our package it cannot start, with it it is protected.
"""

from __future__ import annotations

import functools
from typing import Any

from stainedglass_output_protection.errors import ConfigurationError

_TARGET = "target_server_fn"


def run_api_server(*args: Any, **kwargs: Any) -> None:
    """Protect this process, then run vLLM's worker of ``--api-server-count``."""
    from stainedglass_output_protection.vllm import _seams

    _seams.patch_all()
    _seams.original_api_server()(*args, **kwargs)


def run_dp_server(*args: Any, **kwargs: Any) -> None:
    """Protect this process, then run vLLM's server of one data-parallel rank."""
    from stainedglass_output_protection.vllm import _seams

    _seams.patch_all()
    _seams.patch_launchers()
    _seams.original_dp_server()(*args, **kwargs)


def protecting_manager(manager: Any) -> Any:
    """Return vLLM's ``APIServerProcessManager`` so that its processes start here."""

    @functools.wraps(manager, updated=())
    def make(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get(_TARGET) is not None:
            raise ConfigurationError(
                "vLLM starts its API servers in a way that is not known here, so their "
                "answers could not be protected. Use --api-server-count 1."
            )
        return manager(*args, **{**kwargs, _TARGET: run_api_server})

    return make
