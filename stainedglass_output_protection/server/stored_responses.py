"""Responses that the server keeps are refused: whoever knows an id could fetch one.

An owner, who alone may fetch, comes with sealed requests only.
"""

from __future__ import annotations

import json
from typing import Any

from stainedglass_output_protection.protocol.routes import STORED_RESPONSES
from stainedglass_output_protection.server.refusals import stored_response_refused

_CREATE = "/v1/responses"


def refuse_stored(path: str, body: bytes | None, *, has_store: bool) -> None:
    """Refuse a request that makes, continues, fetches or cancels a stored response.

    ``path`` is the route's; ``has_store`` says whether the server has such a store.

    Raises:
        RequestError: it does.
    """
    if path in STORED_RESPONSES:
        raise stored_response_refused()
    if not makes_responses(path) or body is None:
        return
    try:
        # The application's own parser: another one could read another value.
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return
    if isinstance(asked, dict) and _is_stored(asked, has_store=has_store):
        raise stored_response_refused()


def makes_responses(path: str) -> bool:
    """Tell whether what is asked of a route depends on the body of the request."""
    return path == _CREATE


def _is_stored(asked: dict[str, Any], *, has_store: bool) -> bool:
    # Parsers of settings take many words for true: only what is plainly off is off.
    is_background = asked.get("background") not in (None, False)
    continues = asked.get("previous_response_id") is not None
    is_kept = has_store and asked.get("store", True) is not False
    return is_background or continues or is_kept
