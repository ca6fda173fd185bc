"""The middleware that seals answers to the client's key, under its documented names.

The protection itself is ``server.middleware``; here it gets vLLM's settings and keys.
"""

from __future__ import annotations

import argparse
import functools
import shutil
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

from stainedglass_output_protection.protocol.routes import RouteTable
from stainedglass_output_protection.server.middleware import (
    ProtectionMiddleware,
)
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.replay_store import ReplayStore
from stainedglass_output_protection.vllm.dispatch import dispatch_protected
from stainedglass_output_protection.vllm.environment import (
    has_responses_store,
    replay_store_path,
)
from stainedglass_output_protection.vllm.registry import get_shared_registry
from stainedglass_output_protection.vllm.server_keys import ring_of
from stainedglass_output_protection.vllm.settings import Settings, load_settings
from stainedglass_output_protection.vllm.start_barrier import start_mark_ms

if TYPE_CHECKING:
    import fastapi

_REQUESTS_REMEMBERED = 1_000_000
# In the replay store's file, its log included: measured, with some to spare.
_BYTES_OF_A_REQUEST = 200

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
            options_of(settings),
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


def options_of(settings: Settings) -> Options:
    """Return what the protection is told by the operator's settings."""
    return Options(
        client_key_header=settings.client_public_key_header_name,
        client_key_member=settings.client_key_member_name,
        server_key_header=settings.server_public_key_header_name,
        routes=RouteTable(
            protected=settings.protected_routes,
            clear=settings.clear_routes,
            shows_transfer="kv-transfer" in settings.allow_leaks,
        ),
        keyless=settings.keyless_requests,
        has_store=has_responses_store(),
        allows_stored="stored-responses" in settings.allow_leaks,
        requires_sealed=settings.require_sealed_requests,
        max_sealed_request=settings.max_sealed_request_bytes,
        passed_headers=settings.passed_headers,
    )


def replay_store_maker(settings: Settings) -> Callable[[], ReplayStore]:
    """Return what opens the replay store that all processes of this server share."""
    # Keys of a fleet outlive this process, and with them what it has seen.
    has_lasting_keys = settings.fleet_secret_file is not None
    mark_ms = start_mark_ms() if has_lasting_keys else 0
    path = replay_store_path()
    capacity = _REQUESTS_REMEMBERED
    if path is not None:
        # It must never fill its file system, which may be a small one in memory.
        room = shutil.disk_usage(path.parent).total // 4
        capacity = min(capacity, max(1, room // _BYTES_OF_A_REQUEST))
    return lambda: ReplayStore(path, capacity=capacity, mark_ms=mark_ms)


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
