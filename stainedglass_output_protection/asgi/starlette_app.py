"""Protects a Starlette or FastAPI application in place.

In place, because the protection belongs inside of the application's own middleware:
what logs, caches or compresses answers then has ciphertext.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from stainedglass_output_protection.asgi.parts import Parts
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.server.openapi import describe_in_openapi

_NOT_INNERMOST = (
    "The protection is not the innermost middleware of this application, so plaintext "
    "could leave it: call protect() after what changes its middleware."
)
# In the scopes that have come through the protection.
_PASSED = "stainedglass_output_protection.passed"


def protect_in_place(app: Starlette, parts: Parts) -> None:
    """Add the protection to an application that is not yet serving.

    Raises:
        ConfigurationError: it is protected already.
    """
    if any(_is_ours(item) for item in app.user_middleware) or isinstance(
        app.router.middleware_stack, _Door
    ):
        raise ConfigurationError("This application is protected already.")
    door = _Door(app.router.middleware_stack)
    app.router.middleware_stack = door
    app.user_middleware.append(
        Middleware(_Innermost, parts=parts, router=app.router, door=door)
    )
    if parts.moves_authorization:
        app.user_middleware.insert(0, Middleware(_Outermost, parts=parts))
    # Some build it early, and then the addition would have no effect.
    app.middleware_stack = None
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(served: Starlette) -> AsyncIterator[Any]:
        async with parts.keys.living(), inner(served) as state:
            await parts.keys.ready()
            yield state

    app.router.lifespan_context = lifespan
    describe_in_openapi(app, parts.options)


class _Door:
    """The application's router, for what has come through the protection.

    What the list of middleware says may not be what was built, nor what is called.
    """

    def __init__(self, router: ASGIApp) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get(_PASSED) is self:
            await self._router(scope, receive, send)
        elif scope["type"] == "lifespan":
            # Raised, it would pass for an application that has no lifespan.
            await receive()
            failed = {"type": "lifespan.startup.failed", "message": _NOT_INNERMOST}
            await send(failed)
        else:
            raise ConfigurationError(_NOT_INNERMOST)


class _Innermost:
    def __init__(self, app: ASGIApp, parts: Parts, router: Router, door: _Door) -> None:
        is_next = _inside_of_frameworks(app) is router
        if not (is_next and router.middleware_stack is door):
            # It lets in nothing that has not come through the protection.
            self._protected: ASGIApp = door
            return

        async def marked(scope: Scope, receive: Receive, send: Send) -> None:
            # Not in a copy: what is outside may read there which route was found.
            scope[_PASSED] = door
            await app(scope, receive, send)

        self._protected = parts.protected(marked)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._protected(scope, receive, send)


class _Outermost:
    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._authorized = parts.authorized(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._authorized(scope, receive, send)


def _inside_of_frameworks(app: ASGIApp) -> ASGIApp:
    """Return what Starlette's and FastAPI's own innermost layers are around."""
    while isinstance(app, ExceptionMiddleware) or _is_exit_stack(app):
        app = app.app  # type: ignore[attr-defined]
    return app


def _is_exit_stack(app: ASGIApp) -> bool:
    # By its name, since FastAPI need not be there.
    kind = type(app)
    in_fastapi = kind.__module__.partition(".")[0] == "fastapi"
    return in_fastapi and kind.__name__ == "AsyncExitStackMiddleware"


def _is_ours(item: Middleware) -> bool:
    return isinstance(item.cls, type) and issubclass(item.cls, _Innermost)
