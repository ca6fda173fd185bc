"""The documented public interface: every name, signature, default, header, variable."""

from __future__ import annotations

import inspect
from argparse import Namespace
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.middleware.base import BaseHTTPMiddleware

from stainedglass_output_protection.hosting.environment import variable_of
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.server.policy import KeylessPolicy
from stainedglass_output_protection.vllm import (
    entrypoint,
    middleware,
    registry,
    server_keys,
)
from stainedglass_output_protection.vllm.middleware import UserPublicKeyMiddleware
from tests.vllm_layer.app import build_app

EMPTY = inspect.Parameter.empty


def parameters_of(function: Any) -> list[tuple[str, Any]]:
    return [
        (item.name, item.default)
        for item in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (UserPublicKeyMiddleware, [("app", EMPTY), ("dispatch", None)]),
        (
            UserPublicKeyMiddleware.dispatch,
            [("self", EMPTY), ("request", EMPTY), ("call_next", EMPTY)],
        ),
        (middleware.inject_middleware, [("build_app_func", EMPTY)]),
        (server_keys.ephemeral_key_lifespan_factory, [("refresh_time", EMPTY)]),
        (
            server_keys.inject_key_lifespan,
            [("build_app_func", EMPTY), ("key_refresh_time_s", EMPTY)],
        ),
        (server_keys.periodic_refresh, [("app", EMPTY), ("period", EMPTY)]),
        (registry.get_shared_registry, []),
        (registry.remove_key, [("request_id", EMPTY)]),
        (entrypoint.main, [("argv", None)]),
    ],
)
def test_signature(function: Any, parameters: list[tuple[str, Any]]) -> None:
    assert parameters_of(function) == parameters


def test_middleware_is_a_base_http_middleware() -> None:
    assert issubclass(UserPublicKeyMiddleware, BaseHTTPMiddleware)
    assert inspect.iscoroutinefunction(UserPublicKeyMiddleware.dispatch)
    assert isinstance(UserPublicKeyMiddleware.key_registry, property)


def test_periodic_refresh_is_a_coroutine_function() -> None:
    assert inspect.iscoroutinefunction(server_keys.periodic_refresh)


def test_build_app_func_names_the_type_of_build_app() -> None:
    assert "Namespace" in repr(middleware.BuildAppFunc)
    assert "FastAPI" in repr(middleware.BuildAppFunc)


def test_all_middlewares_share_one_registry() -> None:
    async def app(*args: Any) -> None: ...

    first, second = UserPublicKeyMiddleware(app), UserPublicKeyMiddleware(app)
    assert first.key_registry is second.key_registry
    assert first.key_registry is registry.get_shared_registry()
    assert isinstance(first.key_registry, MutableMapping)


def test_variables_and_defaults() -> None:
    defaults = {
        variable_of(name): field.default
        for name, field in Settings.model_fields.items()
    }
    assert defaults == {
        "SG_CLIENT_PUBLIC_KEY_HEADER_NAME": "x-client-public-key",
        "SG_SERVER_PUBLIC_KEY_HEADER_NAME": "x-server-public-key",
        "SG_CLIENT_KEY_MEMBER_NAME": "sg_client_public_key",
        "SG_KEY_REFRESH_TIME_S": 3600.0,
        "SG_KEY_OVERLAP_EPOCHS": 1,
        "SG_IDENTITY_KEY_FILE": None,
        "SG_FLEET_SECRET_FILE": None,
        "SG_EVIDENCE_PROVIDER": None,
        "SG_KEYLESS_REQUESTS": KeylessPolicy.REQUIRED,
        "SG_PROTECTED_ROUTES": frozenset(),
        "SG_CLEAR_ROUTES": frozenset(),
        "SG_ALLOW_LEAKS": frozenset(),
        "SG_REQUIRE_SEALED_REQUESTS": False,
        "SG_SEALED_AUTHORIZATION": False,
        "SG_MAX_SEALED_REQUEST_BYTES": 64 * 1024 * 1024,
        "SG_PASSED_HEADERS": frozenset(),
    }


@pytest.mark.parametrize(
    "wrapped",
    [
        middleware.inject_middleware(build_app),
        server_keys.inject_key_lifespan(build_app, 3600),
    ],
)
def test_injected_function_forwards_everything_and_keeps_the_signature(
    wrapped: Any,
) -> None:
    assert inspect.signature(wrapped) == inspect.signature(build_app)
    arguments = Namespace(api_server_count=None)
    app = wrapped(arguments, ("generate",), model_config=None)
    assert app.state.args is arguments
    assert app.state.tasks == ("generate",)


async def test_removed_key_leaves_the_sentinel_at_once() -> None:
    keys = registry.get_shared_registry()
    keys["a request"] = b"k"
    registry.remove_key("a request")
    assert keys["a request"] is None
    registry.remove_key("an unknown request")
    assert "an unknown request" not in keys
    del keys["a request"]
