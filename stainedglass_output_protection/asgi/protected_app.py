"""A protected ASGI application that is none of Starlette's: scopes in, lifespan kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stainedglass_output_protection.asgi.by_path import PathRoutes
from stainedglass_output_protection.asgi.parts import Parts
from stainedglass_output_protection.errors import OutputProtectionError
from stainedglass_output_protection.server.observation import Observation

logger = logging.getLogger(__name__)

_STARTED = "lifespan.startup.complete"


class ProtectedApp:
    """Serves ``app``, its answers sealed. It is called by an ASGI server.

    Routes are found by the request's path, so ``app`` must take paths as the table
    writes them. An attribute ``exception_handlers`` of ``app`` is used as Starlette's.
    """

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._app = app
        self._keys = parts.keys
        handlers: Mapping[Any, Any] = getattr(app, "exception_handlers", {})
        self._routes = PathRoutes(parts.added_routes, handlers)
        self._innermost = parts.protected(_without_app(app))
        self._protected = parts.authorized(self._innermost)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope.

        Raises:
            RuntimeError: it is of a type that nothing here protects.
        """
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "http":
            scope = {**scope, "app": self._routes.stand_in(scope)}
            await self._protected(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._protected(scope, receive, send)
        else:
            raise RuntimeError(
                f"Scopes of type {scope['type']!r} cannot be protected: refused."
            )

    def observed(self, scope: Scope, send: Send) -> Observation | None:
        """Return what observes a request that is answered in front of the protection.

        None if requests like it are not observed. The caller must enter it, and answer
        through its ``send``.
        """
        scope = {**scope, "app": self._routes.stand_in(scope)}
        return self._innermost.observed(scope, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application's lifespan inside of the keys'."""
        try:
            async with self._keys.living():
                await self._inner_life(scope, receive, send)
        except OutputProtectionError as error:
            logger.error("The server cannot start: %s", error)
            # Raised, it would pass for an application that has no lifespan.
            await send({"type": "lifespan.startup.failed", "message": str(error)})

    async def _inner_life(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_received = has_answered = False

        async def watched_receive() -> Message:
            nonlocal has_received
            has_received = True
            return await receive()

        async def watched_send(message: Message) -> None:
            nonlocal has_answered
            if not message["type"].startswith("lifespan."):
                raise RuntimeError("An answer to a request that is none.")
            has_answered = True
            if message["type"] == _STARTED:
                await self._keys.ready()
            await send(message)

        try:
            await self._app(scope, watched_receive, watched_send)
        except Exception as error:
            if has_answered:
                raise
            # That is how an application without a lifespan says so. Not its words.
            logger.info("The application has no lifespan (%s).", type(error).__name__)
        if has_answered:
            return
        if not has_received:
            await receive()
        await self._keys.ready()
        await send({"type": _STARTED})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _without_app(app: ASGIApp) -> ASGIApp:
    """Return ``app`` without our stand-in for it in its scopes."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        inner = {name: value for name, value in scope.items() if name != "app"}
        await app(inner, receive, send)

    return called
