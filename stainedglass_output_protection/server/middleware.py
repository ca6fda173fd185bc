"""Stateless ASGI middleware: which scopes, which routes, refuse or make a responder.

Pure ASGI: Starlette's ``BaseHTTPMiddleware`` costs more per streamed chunk than the whole
protection. It must be the innermost middleware, so that everything around it,
loggers among it, sees ciphertext.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from stainedglass_output_protection.errors import (
    KeysUnavailableError,
    RequestError,
)
from stainedglass_output_protection.protocol.routes import Route, RouteClass
from stainedglass_output_protection.server.admission import (
    Admitted,
    admit_clear,
    admit_sealed,
)
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.draining import PROCESS
from stainedglass_output_protection.server.failures import answer_failure
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.matching import (
    Matched,
    is_clear,
    matched_route,
    path_below_root,
)
from stainedglass_output_protection.server.notices import Notices
from stainedglass_output_protection.server.observation import Observation
from stainedglass_output_protection.server.observer import (
    OTHER_ROUTE,
    Observer,
    telling,
)
from stainedglass_output_protection.server.offer import (
    Offer,
    OfferRules,
    header_key,
    read_offer,
)
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.own_routes import OWN_ROUTES
from stainedglass_output_protection.server.refusals import (
    keys_unavailable,
    route_not_protected,
)
from stainedglass_output_protection.server.refusing import (
    Refusing,
    refuse,
    without_success,
)
from stainedglass_output_protection.server.registry import SHARED_REGISTRY
from stainedglass_output_protection.server.replay_store import ReplayStore
from stainedglass_output_protection.server.request_body import drop_trailers
from stainedglass_output_protection.server.responder import Responder
from stainedglass_output_protection.server.stored_responses import (
    makes_responses,
    refuse_stored,
)

logger = logging.getLogger(__name__)

# Extensions by which a response could leave without passing `send` as a body.
_KEPT_EXTENSIONS = frozenset({"tls"})


class ProtectionMiddleware:
    """Protects, passes or refuses every request of ``app`` by the table of routes.

    ``ring_of`` returns the key ring for a scope and raises ``KeysUnavailableError`` if
    there is none yet. ``replay_store`` makes the store that all processes of this
    server share. ``observer`` is told of every request for a protected or unknown
    route; None is the process's.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: Options,
        *,
        ring_of: Callable[[Scope], KeyRing],
        replay_store: Callable[[], ReplayStore] = lambda: ReplayStore(None),
        observer: Observer | None = None,
    ) -> None:
        self._app = app
        self._options = options
        self._ring_of = ring_of
        # Made when it is first needed: not in a process that only starts others.
        self._replay_store = functools.cache(replay_store)
        self._rules = OfferRules(
            header=options.client_key_header,
            member=options.client_key_member,
            keyless=options.keyless,
            max_sealed=options.max_sealed_request,
            requires_sealed=options.requires_sealed,
            max_request=options.max_request_bytes,
        )
        self._notices = Notices()
        self._observer = telling(observer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope.

        Raises:
            RuntimeError: it is of a type that nothing here protects.
        """
        if scope["type"] == "http":
            drop_trailers(scope)
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            # Closed before it is accepted: the handshake is answered with 403.
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            raise RuntimeError(
                f"Scopes of type {scope['type']!r} cannot be protected: refused."
            )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer_own = OWN_ROUTES.get(path_below_root(scope))
        if answer_own is not None:
            await answer_own(scope, send, ring_of=self._ring_of)
            return
        matched = matched_route(scope)
        route = self.route_of(matched)
        if matched is None or route is None:
            await self._app(inner_scope(scope), receive, without_success(send))
            return
        if is_clear(route, matched, scope["method"]):
            answer = send if matched.allows else without_success(send)
            await self._app(scope, receive, answer)
            return
        with self._observation(route, send) as seen:
            receive = seen.receiving(receive)
            await self._serve_seen(scope, receive, send, matched, route, seen)

    async def _serve_seen(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        matched: Matched,
        route: Route,
        seen: Observation,
    ) -> None:
        try:
            if route.route_class is not RouteClass.PROTECTED:
                self._notices.refused_route(route, matched)
                raise route_not_protected()
            if PROCESS.draining.is_stopping:
                raise keys_unavailable()
            ring = self._ring_of(scope)
            offer = await read_offer(
                scope,
                receive,
                ring=ring,
                rules=self._rules,
                reads_any_body=makes_responses(route.path),
            )
            if offer is None:
                return  # The client went away.
            if not seen.runs():
                raise keys_unavailable()
            ring.current(unix_ms())
            admitted = self._admit(offer, route, ring)
        except RequestError as error:
            seen.code = error.code
            await refuse(error, route, seen.send)
        except KeysUnavailableError as error:
            logger.error("Request refused: %s", error)
            unavailable = keys_unavailable()
            seen.code = unavailable.code
            await refuse(unavailable, route, seen.send)
        else:
            seen.is_keyless = offer.is_keyless
            if offer.is_keyless:
                self._notices.keyless(route, self._options.keyless)
            app = self._app
            if admitted.refusal is not None:
                seen.code = admitted.refusal.code
                app = Refusing(admitted.refusal, route)
            if admitted.keys is None:
                await app(admitted.scope, admitted.receive, seen.send)
            else:
                responder = Responder(
                    keys=admitted.keys,
                    route=route,
                    wants_opaque=offer.wants_opaque,
                    server_key_header=self._options.server_key_header,
                    receive=admitted.receive,
                    send=send,
                    on_failure=admitted.release,
                )
                seen.watch(responder)
                await _protect(
                    app, admitted.scope, responder, offer.key, seen.request_id
                )
                if responder.lacks_keys:
                    seen.code = keys_unavailable().code

    def observed(self, scope: Scope, send: Send) -> Observation | None:
        """Return what observes a request that is answered in front of this layer.

        None if it is of a kind that is not observed here, either.
        """
        matched = matched_route(scope)
        route = self.route_of(matched)
        if (
            path_below_root(scope) in OWN_ROUTES
            or matched is None
            or route is None
            or is_clear(route, matched, scope["method"])
        ):
            return None
        return self._observation(route, send)

    def _observation(self, route: Route, send: Send) -> Observation:
        return Observation(self._observer, route.path or OTHER_ROUTE, send)

    def route_of(self, matched: Matched | None) -> Route | None:
        """Return the row for a matched route; None if nothing would serve it."""
        return None if matched is None else self._options.routes.row(matched.path)

    def _admit(self, offer: Offer, route: Route, ring: KeyRing) -> Admitted:
        if offer.opened is not None:
            return admit_sealed(
                offer,
                offer.opened,
                route,
                ring,
                self._replay_store(),
                passed_headers=self._options.passed_headers,
            )
        return admit_clear(
            offer,
            route,
            ring,
            has_store=self._options.has_store,
            allows_stored=self._options.allows_stored,
        )

    def header_key(self, scope: Scope) -> bytes:
        """Return the client public key in a request's header.

        Raises:
            ClientKeyError: it is missing, duplicated or malformed.
        """
        return header_key(scope, self._options.client_key_header)

    def refuse_stored(self, route: Route, body: bytes | None) -> None:
        """Refuse what the server would keep, unless that leak is allowed.

        Raises:
            RequestError: it is refused.
        """
        if not self._options.allows_stored:
            refuse_stored(route.path, body, has_store=self._options.has_store)


async def _protect(
    app: ASGIApp,
    scope: Scope,
    responder: Responder,
    client_key: bytes | None,
    request_id: str,
) -> None:
    SHARED_REGISTRY[request_id] = client_key
    scope = inner_scope(scope)
    failure = None
    try:
        try:
            await app(scope, responder.receive, responder.send)
            responder.end_of_call()
        except Exception as error:
            failure = error
        # Outside of its handler, or what fails now would carry its words along.
        if failure is not None:
            await answer_failure(failure, scope, responder)
    finally:
        SHARED_REGISTRY.remove(request_id)


def inner_scope(scope: Scope) -> Scope:
    """Return the scope without what lets an answer leave but through ``send``."""
    extensions = scope.get("extensions") or {}
    kept = {name: extensions[name] for name in extensions if name in _KEPT_EXTENSIONS}
    headers = [item for item in scope["headers"] if item[0] != b"accept-encoding"]
    return {**scope, "extensions": kept, "headers": headers}
