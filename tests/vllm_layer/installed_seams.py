"""Checks of the seams on the installed vLLM, run as a script in a process of its own.

vLLM is not imported into the test process: it takes seconds and changes much there.
Each function whose name begins with ``check_`` is one test in ``test_seams.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import io
import os
import pickle
import sys
from argparse import Namespace
from typing import Any
from unittest.mock import patch

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.vllm import _seams, entrypoint, spawned
from stainedglass_output_protection.vllm.middleware import UserPublicKeyMiddleware
from stainedglass_output_protection.vllm.plugin import (
    ProtectionEndpointPlugin,
    register,
)
from stainedglass_output_protection.vllm.protection import is_protected

_seams.patch_all()
_seams.patch_launchers()
COMMAND = importlib.import_module("vllm.entrypoints.cli.serve")
SITES = [importlib.import_module(site.module) for site in _seams._call_sites()]


def vllm_arguments(*options: str) -> Namespace:
    cli_args = importlib.import_module(COMMAND.make_arg_parser.__module__)
    module = importlib.import_module("vllm.utils.argparse_utils")
    parser = cli_args.make_arg_parser(module.FlexibleArgumentParser())
    return parser.parse_args(["--model", "m", *options])


def refusal_of(function: Any, *args: Any, **kwargs: Any) -> str:
    try:
        function(*args, **kwargs)
    except ConfigurationError as error:
        return str(error)
    raise AssertionError("not refused")


def check_every_call_site_builds_protected_apps() -> None:
    assert SITES
    for site in SITES:
        app = site.build_app(vllm_arguments("--api-key", "k"), ("render",))
        assert is_protected(app), site
        assert app.user_middleware[-1].cls is UserPublicKeyMiddleware
        assert len(app.user_middleware) > 1
        # What the bootstrap built before us must not be what serves.
        assert app.middleware_stack is None


def check_an_app_that_is_not_protected_is_not_served() -> None:
    for site in SITES:
        app = inspect.unwrap(site.build_app)(vllm_arguments(), ("render",))
        served = refusal_of(asyncio.run, site.serve_http(app, sock=None))
        assert "not protected" in served


def check_patching_again_changes_nothing() -> None:
    before = [(site.build_app, site.serve_http) for site in SITES]
    launchers = dict(vars(COMMAND))
    _seams.patch_all()
    _seams.patch_launchers()
    os.environ["SG_PROTECT_EVERY_SERVER"] = "1"
    register()
    assert [(site.build_app, site.serve_http) for site in SITES] == before
    assert dict(vars(COMMAND)) == launchers


def check_spawned_processes_start_in_our_function() -> None:
    seen = {}

    def manager(**kwargs: Any) -> None:
        seen.update(kwargs)

    spawned.protecting_manager(manager)(num_servers=2)
    assert seen == {"num_servers": 2, "target_server_fn": spawned.run_api_server}
    refused = refusal_of(spawned.protecting_manager(manager), target_server_fn=print)
    assert "--api-server-count 1" in refused
    supervisor = importlib.import_module(COMMAND.run_dp_supervisor.__module__)
    target = pickle.loads(pickle.dumps(supervisor._run_vllm_dp_server))
    assert target is spawned.run_dp_server
    assert _seams.original_dp_server().__module__ == supervisor.__name__
    parameters = _seams.original_api_server().__code__.co_varnames
    assert parameters[:3] == ("listen_address", "sock", "args")


def check_spawned_process_is_protected_before_it_serves() -> None:
    with patch.object(_seams, "original_api_server") as original:
        spawned.run_api_server("address", None, Namespace(), {"client_index": 0})
    original.return_value.assert_called_once()


def check_rust_front_end_is_refused_where_it_is_started() -> None:
    assert "Rust" in refusal_of(COMMAND.RustFrontendProcessManager, binary_path="x")


def check_options_that_go_around_are_refused_before_loading() -> None:
    with patch.object(COMMAND.ServeSubcommand, "cmd", _must_not_run):
        serve = _seams.serve
        assert "--grpc" in refusal_of(serve, ["serve", "m", "--grpc"])
        outputs = ["--enable-log-requests", "--enable-log-outputs"]
        assert "--enable-log-outputs" in refusal_of(serve, ["serve", "m", *outputs])
        envs = importlib.import_module("vllm.envs")
        with patch.object(envs, "VLLM_USE_RUST_FRONTEND", True, create=True):
            assert "VLLM_USE_RUST_FRONTEND" in refusal_of(serve, ["serve", "m"])


def check_every_option_reaches_the_serve_command() -> None:
    versions: list[str] = []
    with patch.object(COMMAND.ServeSubcommand, "cmd") as command:
        _seams.serve(
            ["serve", "m", "--port", "81", "--max-model-len=64"],
            before_start=versions.append,
        )
    (options,) = command.call_args.args
    assert (options.model_tag, options.port, options.max_model_len) == ("m", 81, 64)
    assert versions == [importlib.import_module("vllm").__version__]


def check_help_shows_our_settings_and_the_options_of_vllm() -> None:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        entrypoint.main(["serve", "--help=max-model-len"])
    assert "SG_KEY_REFRESH_TIME_S" in text.getvalue()
    assert "--max-model-len" in text.getvalue()


def check_endpoint_plugin_satisfies_the_interface() -> None:
    interface = importlib.import_module("vllm.plugins.endpoint_plugins.interface")
    assert isinstance(ProtectionEndpointPlugin(), interface.EndpointPlugin)


def check_endpoint_plugin_and_patch_protect_once() -> None:
    plugins = importlib.import_module("vllm.plugins")
    with patch.object(
        plugins, "load_endpoint_plugins", return_value=[ProtectionEndpointPlugin()]
    ):
        arguments = vllm_arguments()
        both = SITES[0].build_app(arguments, ("render",))
        alone = SITES[0].build_app.__wrapped__(arguments, ("render",))
    for app in (both, alone):
        assert is_protected(app)
        names = [item.cls for item in app.user_middleware]
        assert names.count(UserPublicKeyMiddleware) == 1


def _must_not_run(options: Any) -> None:
    raise AssertionError("vLLM was started")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        globals()[name]()
        print(name)
