"""Protecting a whole app: middleware, keys, and the proof that both are in force."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.middleware.exceptions import ExceptionMiddleware

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.environment import (
    FLEET_VARIABLE,
    IDENTITY_VARIABLE,
    epoch_table_path,
)
from stainedglass_output_protection.hosting.evidence import load_evidence_provider
from stainedglass_output_protection.hosting.fleet import MAKE_FLEET
from stainedglass_output_protection.hosting.identity import process_identity
from stainedglass_output_protection.hosting.settings import Settings, load_settings
from stainedglass_output_protection.vllm.authorization import add_outermost
from stainedglass_output_protection.vllm.log import join_vllm_logging
from stainedglass_output_protection.vllm.metrics import show
from stainedglass_output_protection.vllm.middleware import (
    STACK_MIDDLEWARE,
    BuildAppFunc,
    add_innermost,
    is_innermost,
)
from stainedglass_output_protection.vllm.server_keys import (
    Lifespan,
    add_key_lifespan,
    has_key_lifespan,
)

if TYPE_CHECKING:
    import fastapi

_MARK = "output_protection"

logger = logging.getLogger(__name__)


def protect_app(app: fastapi.FastAPI) -> None:
    """Protect an app that is built and not yet serving. Doing it again changes nothing.

    Raises:
        ConfigurationError: a setting is bad, or wrong for several API servers.
    """
    join_vllm_logging()
    settings = load_settings()
    _require_shared_keys(app, settings)
    load_evidence_provider(settings.evidence_provider)
    add_innermost(app)
    if settings.sealed_authorization:
        add_outermost(app)
    add_key_lifespan(app, settings.key_refresh_time_s)
    if not hasattr(app, _MARK):
        app.router.lifespan_context = _checked(app.router.lifespan_context)
        setattr(app, _MARK, True)
    show(app)


def is_protected(app: Any) -> bool:
    """Tell whether ``protect_app`` was done and nothing has undone it."""
    return is_innermost(app) and has_key_lifespan(app) and hasattr(app, _MARK)


def protecting(build_app: BuildAppFunc) -> BuildAppFunc:
    """Return ``build_app`` so that the app it returns is protected."""

    @functools.wraps(build_app)
    def build_protected_app(*args: Any, **kwargs: Any) -> fastapi.FastAPI:
        app = build_app(*args, **kwargs)
        protect_app(app)
        return app

    return build_protected_app


def serving_protected_only(
    serve_http: Callable[..., Awaitable[Any]],
) -> Callable[..., Awaitable[Any]]:
    """Return ``serve_http`` so that it refuses an app that is not protected."""

    @functools.wraps(serve_http)
    async def serve(app: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_protected(app):
            raise ConfigurationError(
                "vLLM was about to serve an API that is not protected. Nothing was "
                "served; please report this with the version of vLLM."
            )
        # Built anew when it starts, so that it is the list that was just checked.
        app.middleware_stack = None
        return await serve_http(app, *args, **kwargs)

    return serve


def _checked(lifespan: Lifespan) -> Lifespan:
    """Add to ``lifespan`` that it fails in a stack where plaintext could get past us."""

    @contextlib.asynccontextmanager
    async def checked_lifespan(app: fastapi.FastAPI) -> AsyncIterator[Any]:
        _require_innermost_now()
        identity = process_identity(load_settings().identity_key_file)
        logger.info(
            "Output protection is on. Clients pin this server with: "
            "SG_SERVER_IDENTITY=%s",
            identity.fingerprint,
        )
        async with lifespan(app) as state:
            yield state

    return checked_lifespan


def _require_innermost_now() -> None:
    """Refuse to start up unless the serving stack has ours directly around the routes."""
    ours = STACK_MIDDLEWARE.get()
    if ours is None or not isinstance(ours.app, ExceptionMiddleware):
        raise ConfigurationError(
            "Output protection is not the innermost middleware of this server, so "
            "plaintext could leave it: remove what adds a middleware after it."
        )


def _require_shared_keys(app: fastapi.FastAPI, settings: Settings) -> None:
    count = getattr(getattr(app.state, "args", None), "api_server_count", None) or 1
    if count > 1 and settings.identity_key_file is None:
        raise ConfigurationError(
            f"{IDENTITY_VARIABLE} is not set, so each of the {count} API servers would "
            "have another identity. Set it to the same file for all."
        )
    if count > 1 and settings.fleet_secret_file is None and not epoch_table_path():
        raise ConfigurationError(
            f"{FLEET_VARIABLE} is not set, so each of the {count} API servers would have "
            "other epoch keys and could not open requests for the others. Set it to the "
            f"same file for all. {MAKE_FLEET}. Or start with sg-vllm, which shares keys "
            "by itself."
        )
