"""The layer in front of authentication (``protocol.md#sealed-authorization``).

It opens a request only when that has no ``Authorization`` header, and hands what it has
opened inwards, so that no request is opened twice.
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
from stainedglass_output_protection.protocol.constants import SEALED_REQUEST_HEADER
from stainedglass_output_protection.protocol.routes import Route, RouteClass
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.matching import matched_route
from stainedglass_output_protection.server.observation import Observation
from stainedglass_output_protection.server.observer import Observer, telling
from stainedglass_output_protection.server.offer import OPENED, values_of
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.refusals import keys_unavailable
from stainedglass_output_protection.server.refusing import refuse
from stainedglass_output_protection.server.replay_store import ReplayStore
from stainedglass_output_protection.server.request_body import (
    drop_trailers,
    limited,
    may_be_json,
    read_upload,
    replaying,
)
from stainedglass_output_protection.server.sealed_requests import (
    compare_members,
    compare_target,
    enter,
    open_request,
    sealed_text,
)

logger = logging.getLogger(__name__)

_AUTHORIZATION = b"authorization"
_BODILESS = ("GET", "HEAD")
_SEALED = SEALED_REQUEST_HEADER.encode("ascii")


class SealedAuthorizationMiddleware:
    """Puts a sealed request's ``Authorization`` where authentication looks for it.

    It must be outside of authentication; ``options`` and ``replay_store`` are those of
    the ``ProtectionMiddleware`` inside. ``observer`` is told of what ends here.
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
        self._replay_store = functools.cache(replay_store)
        self._observer = telling(observer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        route = self._route(scope)
        if route is None or values_of(scope, _AUTHORIZATION):
            await self._app(scope, receive, send)
            return
        drop_trailers(scope)
        # Entered only where the request ends: what is let through is observed inside.
        seen = Observation(self._observer, route.path, send)
        try:
            opened = await self._opened(scope, seen.receiving(receive), route)
        except RequestError as error:
            await _refuse(error, route, seen)
        except KeysUnavailableError as error:
            logger.error("Request refused: %s", error)
            await _refuse(keys_unavailable(), route, seen)
        except BaseException:
            with seen:
                raise
        else:
            if opened is None:
                with seen:
                    return  # The client went away.
            await self._app(*opened, send)

    def _route(self, scope: Scope) -> Route | None:
        """Return the route that will serve a request, if that may be sealed.

        On a clear route only the key is: it says so in the header.
        """
        if scope["type"] != "http":
            return None
        matched = matched_route(scope)
        row = None if matched is None else self._options.routes.row(matched.path)
        if row is None or row.route_class is RouteClass.REFUSED:
            return None
        if row.route_class is RouteClass.CLEAR and not (
            scope["method"] in _BODILESS and values_of(scope, _SEALED)
        ):
            return None
        return row

    async def _opened(
        self, scope: Scope, receive: Receive, route: Route
    ) -> tuple[Scope, Receive] | None:
        """Return the request as the layers inside see it; None if its client left."""
        header = self._options.client_key_header.encode("ascii")
        if values_of(scope, header) and not may_be_json(scope):
            return scope, receive  # An upload of profile output, in its pieces.
        receive = limited(scope, receive, self._options.max_request_bytes)
        limit = self._options.max_sealed_request
        upload = await read_upload(receive, limit)
        if upload is None:
            return None
        receive = replaying(upload.body, receive, has_more=upload.has_more)
        text = sealed_text(scope, upload.body, limit=limit)
        if text is None:
            return scope, receive
        opened = open_request(
            text, ring=self._ring_of(scope), offered=values_of(scope, header)
        )
        if route.route_class is RouteClass.CLEAR:
            # Nothing inside looks at it any more.
            compare_target(opened, scope)
            enter(opened, self._replay_store())
            compare_members(opened, scope, b"")
        headers = list(scope["headers"])
        if opened.request.authorization:
            value = opened.request.authorization.encode("latin-1", "replace")
            headers.append((_AUTHORIZATION, value))
        return {**scope, "headers": headers, OPENED: opened}, receive


async def _refuse(error: RequestError, route: Route, seen: Observation) -> None:
    with seen:
        seen.code = error.code
        await refuse(error, route, seen.send)
