"""The only file that imports vLLM: one function per place where we touch it.

Every place is recognised by structure, not by vLLM's version, and checked after the
fact. What does not have the structure is refused: serving unprotected is the one
outcome that must not happen.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.vllm import spawned
from stainedglass_output_protection.vllm.call_sites import (
    BUILD_APP,
    SERVE_HTTP,
    CallSite,
    SeamNotFoundError,
    find_call_sites,
)
from stainedglass_output_protection.vllm.draining import finishing_first
from stainedglass_output_protection.vllm.options import refuse_leaks
from stainedglass_output_protection.vllm.protection import (
    protecting,
    serving_protected_only,
)
from stainedglass_output_protection.vllm.replacement import (
    original_of,
    refusing,
    replace,
)

_SERVE = "vllm.entrypoints.cli.serve"
_DP_SERVER = "_run_vllm_dp_server"
_NOT_SERVED = (
    "is not served: its answers could not be protected. Use a vLLM from 0.26 to 0.33, "
    "or a newer version of this package."
)
_ENV_SETUP = (
    "vllm.entrypoints.common.startup",  # 0.33
    "vllm.entrypoints.serve.utils.api_utils",  # 0.26 to 0.32
)


def patch_all() -> None:
    """Protect every API that this process can serve, or refuse.

    Raises:
        ConfigurationError: vLLM is missing, or has not the structure we rely on.
    """
    for site in _call_sites():
        _patch(importlib.import_module(site.module), site)


def patch_loaded() -> None:
    """Protect what this process has imported already; import nothing of vLLM."""
    loaded = [
        name
        for name, module in list(sys.modules.items())
        if name.startswith("vllm.entrypoints.")
        and (hasattr(module, BUILD_APP) or hasattr(module, SERVE_HTTP))
    ]
    if loaded:
        for site in _call_sites():
            if site.module in loaded:
                _patch(sys.modules[site.module], site)


def patch_launchers() -> None:
    """Make the processes that the serve command starts protected, or refuse them."""
    command = importlib.import_module(_SERVE)
    replace(command, "APIServerProcessManager", spawned.protecting_manager)
    if hasattr(command, "RustFrontendProcessManager"):
        replace(command, "RustFrontendProcessManager", refusing("The Rust front end"))
    replace(_dp_supervisor(command), _DP_SERVER, lambda _: spawned.run_dp_server)


def original_api_server() -> Callable[..., None]:
    """Return the function that vLLM runs in a process of ``--api-server-count``."""
    function: Callable[..., None] = importlib.import_module(
        "vllm.v1.utils"
    ).run_api_server_worker_proc
    return function


def original_dp_server() -> Callable[..., None]:
    """Return the function that vLLM runs in a process of its rank supervisor."""
    supervisor = _dp_supervisor(importlib.import_module(_SERVE))
    function: Callable[..., None] = original_of(getattr(supervisor, _DP_SERVER))
    return function


def serve(
    arguments: Sequence[str],
    *,
    allowed: frozenset[str] = frozenset(),
    before_start: Callable[[str], None] = lambda _: None,
) -> None:
    """Run vLLM's own serve command with ``arguments``, which begin with ``serve``.

    ``before_start`` is called with vLLM's version once logging is configured.

    Raises:
        ConfigurationError: an option or a variable is a leak that is not ``allowed``.
    """
    module = importlib.import_module(_SERVE)
    _env_setup()
    argparse_utils = importlib.import_module("vllm.utils.argparse_utils")
    parser = argparse_utils.FlexibleArgumentParser(prog="sg-vllm")
    command = module.ServeSubcommand()
    command.subparser_init(parser.add_subparsers(required=True, dest="subparser"))
    options = parser.parse_args(list(arguments))
    logger_module = importlib.import_module("vllm.logger")
    if hasattr(logger_module, "configure_logging_from_args"):
        logger_module.configure_logging_from_args(options)
    envs = importlib.import_module("vllm.envs")
    refuse_leaks(options, lambda name: bool(getattr(envs, name, False)), allowed)
    before_start(importlib.import_module("vllm.version").__version__)
    command.validate(options)
    command.cmd(options)


def _call_sites() -> list[CallSite]:
    spec = importlib.util.find_spec("vllm")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    try:
        if not folders:
            raise SeamNotFoundError("No package called vllm is installed")
        return find_call_sites(Path(folders[0]))
    except (SeamNotFoundError, SyntaxError, OSError) as error:
        reason = str(error)
    raise ConfigurationError(f"{reason}, so vLLM {_NOT_SERVED}")


def _patch(module: ModuleType, site: CallSite) -> None:
    if site.builds:
        replace(module, BUILD_APP, protecting)
    if site.serves:
        replace(module, SERVE_HTTP, _serving)


def _serving(serve_http: Callable[..., Any]) -> Callable[..., Any]:
    return serving_protected_only(finishing_first(serve_http))


def _dp_supervisor(command: Any) -> ModuleType:
    return importlib.import_module(original_of(command.run_dp_supervisor).__module__)


def _env_setup() -> None:
    """Choose spawned processes, as vLLM's own command does first of all."""
    for name in filter(importlib.util.find_spec, _ENV_SETUP):
        setup = getattr(importlib.import_module(name), "cli_env_setup", None)
        if setup is not None:
            setup()
            return
    raise ConfigurationError(f"vLLM's cli_env_setup is gone, so it {_NOT_SERVED}")
