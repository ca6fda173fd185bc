"""The layer in front of vLLM's authentication, if the operator allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from stainedglass_output_protection.hosting.middleware_options import (
    options_of,
    replay_store_maker,
)
from stainedglass_output_protection.hosting.settings import load_settings
from stainedglass_output_protection.server.sealed_authorization import (
    SealedAuthorizationMiddleware,
)
from stainedglass_output_protection.vllm.environment import has_responses_store
from stainedglass_output_protection.vllm.server_keys import ring_of

if TYPE_CHECKING:
    import fastapi


class AuthorizationLayer(SealedAuthorizationMiddleware):
    """``SealedAuthorizationMiddleware`` with vLLM's settings and keys."""

    def __init__(self, app: ASGIApp) -> None:
        settings = load_settings()
        super().__init__(
            app,
            options_of(settings, has_store=has_responses_store()),
            ring_of=ring_of,
            replay_store=replay_store_maker(settings),
        )


def add_outermost(app: fastapi.FastAPI) -> None:
    """Make the layer the outermost middleware of ``app``, once."""
    others = [item for item in app.user_middleware if not _is_ours(item)]
    app.user_middleware[:] = [Middleware(AuthorizationLayer), *others]
    app.middleware_stack = None


def _is_ours(item: Middleware) -> bool:
    return isinstance(item.cls, type) and issubclass(item.cls, AuthorizationLayer)
