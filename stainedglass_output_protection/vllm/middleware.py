"""The middleware that seals answers to the client's key, under its documented names.

The protection itself is ``server.middleware``; here it gets vLLM's settings and keys.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.middleware import Middleware
from starlette.middleware.base import (
    BaseHTTPMiddleware,
    DispatchFunction,
    RequestResponseEndpoint,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stainedglass_output_protection.hosting.middleware_options import (
    options_of,
    replay_store_maker,
)
from stainedglass_output_protection.hosting.settings import load_settings
from stainedglass_output_protection.server.middleware import (
    ProtectionMiddleware,
)
from stainedglass_output_protection.vllm.dispatch import dispatch_protected
from stainedglass_output_protection.vllm.environment import has_responses_store
from stainedglass_output_protection.vllm.registry import get_shared_registry
from stainedglass_output_protection.vllm.server_keys import ring_of

if TYPE_CHECKING:
    import fastapi

BuildAppFunc: TypeAlias = Callable[[argparse.Namespace], "fastapi.FastAPI"]

# The middleware of the stack that the lifespan runs through, which is the one that
# serves: what a list of middlewares says may not be what was built.
STACK_MIDDLEWARE: ContextVar[UserPublicKeyMiddleware | None] = ContextVar(
    "STACK_MIDDLEWARE", default=None
)


class UserPublicKeyMiddleware(BaseHTTPMiddleware):
    """Seals every answer of a protected route to the client public key of its request.

    It has to be the innermost middleware: everything outside it sees ciphertext only.
    """

    def __init__(self, app: ASGIApp, dispatch: DispatchFunction | None = None) -> None:
        """Look up the header names in the environment.

        A custom ``dispatch`` runs inside the protection: it sees plain answers.

        Raises:
            ConfigurationError: a setting is bad.
        """
        super().__init__(app, dispatch)
        settings = load_settings()
        # Starlette's own class costs 13 to 21 us per streamed chunk, so it takes part
        # only if there is a custom dispatch.
        inner = app
        if dispatch is not None:
            inner = BaseHTTPMiddleware(_WholeBody(app), dispatch)
        self._server_key_header = settings.server_public_key_header_name
        self._protection = ProtectionMiddleware(
            inner,
            options_of(settings, has_store=has_responses_store()),
            ring_of=ring_of,
            replay_store=replay_store_maker(settings),
        )

    @property
    def key_registry(self) -> MutableMapping[str, bytes | None]:
        """The one registry that all instances in this process share."""
        return get_shared_registry()

    async def dispatch(
        self, request: Request, call_next: RequestResponseEndpoint
    ) -> Response:
        """Return the answer of ``call_next``, sealed to the key in ``request``.

        For callers that hold a request; a server goes through ``__call__``.

        Raises:
            ValueError: the request has no client public key, or a malformed one, or
                asks for a route that is not protected.
            TypeError: the server has no usable epoch key.
        """
        return await dispatch_protected(
            self._protection,
            request,
            call_next,
            server_key_header=self._server_key_header,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope without the cost of ``BaseHTTPMiddleware``."""
        if scope["type"] != "lifespan":
            await self._protection(scope, receive, send)
            return
        token = STACK_MIDDLEWARE.set(self)
        try:
            await self.app(scope, receive, send)
        finally:
            STACK_MIDDLEWARE.reset(token)


class _WholeBody:
    """Fails for an application that stops short of the end of its body.

    ``BaseHTTPMiddleware`` would end it in its place, and it would be sealed as complete.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = False

        async def watched_send(message: Message) -> None:
            nonlocal is_open
            is_open = message["type"] != "http.response.body" or message.get(
                "more_body", False
            )
            await send(message)

        await self._app(scope, receive, watched_send)
        if is_open:
            raise RuntimeError("The application did not end its body.")


def inject_middleware(build_app_func: BuildAppFunc) -> BuildAppFunc:
    """Return ``build_app_func`` with the middleware added, innermost, to its app.

    Whatever the function is called with is forwarded: newer vLLM gives it more than
    ``args``. Doing it twice adds one middleware.
    """

    @functools.wraps(build_app_func)
    def build_app(*args: Any, **kwargs: Any) -> fastapi.FastAPI:
        app = build_app_func(*args, **kwargs)
        add_innermost(app)
        return app

    return build_app


def add_innermost(app: fastapi.FastAPI) -> None:
    """Make ours the innermost middleware of ``app``, once."""
    if not is_innermost(app):
        others = [item for item in app.user_middleware if not _is_ours(item)]
        app.user_middleware[:] = [*others, Middleware(UserPublicKeyMiddleware)]
    # vLLM's SageMaker bootstrap has built the stack already; without a new one the
    # addition would have no effect, and nothing would say so.
    app.middleware_stack = None


def is_innermost(app: fastapi.FastAPI) -> bool:
    """Tell whether ours is the last of the app's list, and in it once."""
    ours = [_is_ours(item) for item in app.user_middleware]
    return bool(ours) and ours[-1] and sum(ours) == 1


def _is_ours(item: Middleware) -> bool:
    return isinstance(item.cls, type) and issubclass(item.cls, UserPublicKeyMiddleware)
