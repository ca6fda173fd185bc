"""The protection of one request that a caller holds, for ``dispatch``.

A server's requests do not come through here but through the pure ASGI path.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stainedglass_output_protection.protocol.routes import RouteClass
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.matching import is_clear, matched_route
from stainedglass_output_protection.server.middleware import ProtectionMiddleware
from stainedglass_output_protection.server.offer import wants_opaque
from stainedglass_output_protection.server.refusals import route_not_protected
from stainedglass_output_protection.server.response_keys import output_keys
from stainedglass_output_protection.server.starlette_response import protect_response
from stainedglass_output_protection.server.stored_responses import makes_responses
from stainedglass_output_protection.vllm.registry import (
    get_shared_registry,
    remove_key,
)
from stainedglass_output_protection.vllm.server_keys import ring_of


async def dispatch_protected(
    protection: ProtectionMiddleware,
    request: Request,
    call_next: RequestResponseEndpoint,
    *,
    server_key_header: str,
) -> Response:
    """Return the answer of ``call_next``, sealed if the route is a protected one.

    Raises:
        RequestError: there is no good client public key, or the route is refused.
        KeysUnavailableError: the server has no usable epoch key.
    """
    matched = matched_route(request.scope)
    route = protection.route_of(matched)
    if matched and route and is_clear(route, matched, request.method):
        return await call_next(request)
    # What ``call_next`` would answer on a route that is not mounted, nobody knows.
    if route is None or route.route_class is not RouteClass.PROTECTED:
        raise route_not_protected()
    # Of the request only its header counts: the caller has its body.
    client_public_key = protection.header_key(request.scope)
    body = await request.body() if makes_responses(route.path) else None
    protection.refuse_stored(route, body)
    ring = ring_of(request.scope)
    ring.current(unix_ms())  # Refuse before the engine works, not after.
    request_id = secrets.token_hex(16)
    get_shared_registry()[request_id] = client_public_key
    try:
        response = await protect_response(
            await call_next(request),
            keys=output_keys(ring.current(unix_ms()), client_public_key),
            route=route,
            wants_opaque=wants_opaque(request.scope),
            server_key_header=server_key_header,
        )
    except BaseException:
        remove_key(request_id)
        raise
    if isinstance(response, StreamingResponse):
        response.body_iterator = _then_remove(response.body_iterator, request_id)
    else:
        remove_key(request_id)
    return response


async def _then_remove(body: AsyncIterable[Any], request_id: str) -> AsyncIterator[Any]:
    try:
        async for piece in body:
            yield piece
    finally:
        remove_key(request_id)
