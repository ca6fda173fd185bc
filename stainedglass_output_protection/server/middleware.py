"""Stateless ASGI middleware: which scopes, which routes, refuse or make a responder.

Pure ASGI: Starlette's ``BaseHTTPMiddleware`` costs more per streamed chunk than the whole
protection. It must be the innermost middleware, so that everything around it,
loggers among it, sees ciphertext.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable

from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from stainedglass_output_protection.errors import (
    KeysUnavailableError,
    RequestError,
)
from stainedglass_output_protection.protocol.keys import parse_client_key
from stainedglass_output_protection.protocol.routes import (
    REFUSED,
    Route,
    RouteClass,
    classify,
)
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.failures import answer_failure
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.refusals import (
    client_key_duplicated,
    client_key_missing,
    keys_unavailable,
    refusal,
    route_not_protected,
)
from stainedglass_output_protection.server.registry import SHARED_REGISTRY
from stainedglass_output_protection.server.responder import Responder

logger = logging.getLogger(__name__)

# Extensions by which a response could leave without passing `send` as a body.
_KEPT_EXTENSIONS = frozenset({"tls"})


class ProtectionMiddleware:
    """Protects, passes or refuses every request of ``app`` by the table of routes.

    ``ring_of`` returns the key ring for a scope and raises ``KeysUnavailableError`` if
    there is none yet.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        client_key_header: str,
        server_key_header: str,
        ring_of: Callable[[Scope], KeyRing],
    ) -> None:
        self._app = app
        self._client_key_header = client_key_header.lower().encode("ascii")
        self._server_key_header = server_key_header
        self._ring_of = ring_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = classify(scope["method"], path_below_root(scope))
        if route.route_class is RouteClass.CLEAR or (
            route is REFUSED and not _is_mounted(scope)
        ):
            await self._app(scope, receive, send)
            return
        try:
            if route is REFUSED:
                raise route_not_protected()
            client_public_key = self.client_key(scope)
            ring = self._ring_of(scope)
            ring.current(unix_ms())
        except RequestError as error:
            logger.info("Request refused: %s", error.code)
            await _refuse(error, send)
        except KeysUnavailableError as error:
            logger.error("Request refused: %s", error)
            await _refuse(keys_unavailable(), send)
        else:
            await self._protect(scope, receive, send, route, ring, client_public_key)

    def client_key(self, scope: Scope) -> bytes:
        """Return the client public key that a request offers.

        Raises:
            ClientKeyError: it is missing, duplicated or malformed.
        """
        values = [
            value for name, value in scope["headers"] if name == self._client_key_header
        ]
        if len(values) != 1:
            raise client_key_duplicated() if values else client_key_missing()
        return parse_client_key(values[0].decode("latin-1"))

    async def _protect(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        route: Route,
        ring: KeyRing,
        client_public_key: bytes,
    ) -> None:
        responder = Responder(
            ring=ring,
            client_public_key=client_public_key,
            route=route,
            server_key_header=self._server_key_header,
            receive=receive,
            send=send,
        )
        # Unguessable and ours: clients choose X-Request-Id, routers repeat it.
        request_id = secrets.token_hex(16)
        SHARED_REGISTRY[request_id] = client_public_key
        inner_scope = _inner_scope(scope)
        failure = None
        try:
            try:
                await self._app(inner_scope, responder.receive, responder.send)
            except Exception as error:
                failure = error
            # Outside of its handler, or what fails now would carry its words along.
            if failure is not None:
                await answer_failure(failure, inner_scope, responder)
        finally:
            SHARED_REGISTRY.remove(request_id)


def path_below_root(scope: Scope) -> str:
    """Return the path as the router matches it, without the root path."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path


def _is_mounted(scope: Scope) -> bool:
    """Tell whether the application would serve the request by one of its routes."""
    application = scope.get("app")
    if application is None:
        return True
    return any(route.matches(scope)[0] is Match.FULL for route in application.routes)


def _inner_scope(scope: Scope) -> Scope:
    extensions = scope.get("extensions") or {}
    kept = {name: extensions[name] for name in extensions if name in _KEPT_EXTENSIONS}
    headers = [item for item in scope["headers"] if item[0] != b"accept-encoding"]
    return {**scope, "extensions": kept, "headers": headers}


async def _refuse(error: RequestError, send: Send) -> None:
    status, headers, body = refusal(error)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
