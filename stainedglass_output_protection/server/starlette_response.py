"""Protects a Starlette response object, for callers that have one in hand.

The ASGI path does not come through here.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response, StreamingResponse

from stainedglass_output_protection.protocol.routes import Route
from stainedglass_output_protection.server.protected_response import ProtectedResponse
from stainedglass_output_protection.server.response_keys import ResponseKeys

logger = logging.getLogger(__name__)


async def protect_response(
    response: Response,
    *,
    keys: ResponseKeys,
    route: Route,
    wants_opaque: bool = False,
    server_key_header: str,
) -> Response:
    """Return the protected form of ``response``; its background task runs as before.

    Raises:
        UsageError: the body is compressed already.
    """
    protected = ProtectedResponse(
        keys=keys,
        route=route,
        server_key_header=server_key_header,
        status=response.status_code,
        headers=list(response.raw_headers),
        wants_opaque=wants_opaque,
    )
    if protected.is_stream:
        result: Response = StreamingResponse(
            _stream(response, protected), status_code=protected.status
        )
    else:
        async for piece in _pieces(response):
            protected.push(piece)
        result = Response(protected.end(), status_code=protected.status)
    length = [item for item in result.raw_headers if item[0] == b"content-length"]
    result.raw_headers[:] = protected.headers + length
    result.background = response.background
    return result


async def _stream(
    response: Response, protected: ProtectedResponse
) -> AsyncIterator[bytes]:
    try:
        async for piece in _pieces(response):
            if data := protected.push(piece):
                yield data
    except Exception as error:
        logger.error("The application failed in a stream: %s", type(error).__name__)
        yield protected.fail()
    else:
        yield protected.end()


async def _pieces(response: Any) -> AsyncIterator[bytes]:
    if not hasattr(response, "body_iterator"):
        yield bytes(response.body)
        return
    async for piece in response.body_iterator:
        yield piece.encode("utf-8") if isinstance(piece, str) else bytes(piece)
