"""Answers in place of an application that raised, without its words in any log."""

from __future__ import annotations

import logging
import traceback

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from stainedglass_output_protection.server.responder import Responder

logger = logging.getLogger(__name__)


class LoggedError(Exception):
    """An application failed and has logged why: it is answered, not logged again."""


async def answer_failure(error: Exception, scope: Scope, responder: Responder) -> None:
    """Answer in place of an application that raised.

    Handlers further out would answer or log it with its words.
    """
    if not isinstance(error, LoggedError):
        logger.error("The application failed: %s", _where(error))
    if responder.has_sent:
        await responder.fail()
        return
    answer = await _error_response(scope, responder.receive, error)
    responder.restart()
    await answer(scope, responder.receive, responder.send)


async def _error_response(scope: Scope, receive: Receive, error: Exception) -> Response:
    """Return the answer that the application's own handler for errors would give."""
    handlers = getattr(scope.get("app"), "exception_handlers", {})
    handler = handlers.get(500) or handlers.get(Exception)
    if handler is not None:
        try:
            response = handler(Request(scope, receive), error)
            if not isinstance(response, Response):
                response = await response
            if isinstance(response, Response):
                return response
        except Exception as second:
            logger.error("The application's error handler failed: %s", _where(second))
    return Response(
        '{"error":{"message":"Internal server error","type":"InternalServerError",'
        '"param":null,"code":500}}',
        status_code=500,
        media_type="application/json",
    )


def _where(error: Exception) -> str:
    """Return an exception's type and place; its words may hold a prompt or an answer."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown place"
    return f"{type(error).__name__} at {place}"
