"""What a sealed request's owner means for its body (``protocol.md#owner``)."""

from __future__ import annotations

import json
from typing import Any

from starlette.types import Scope

from stainedglass_output_protection.protocol.owner import (
    cache_salt,
    new_response_id,
    owns_response,
)
from stainedglass_output_protection.protocol.routes import STORED_RESPONSES, Route
from stainedglass_output_protection.protocol.sealed_request import SealedRequest
from stainedglass_output_protection.server.matching import path_below_root
from stainedglass_output_protection.server.refusals import response_not_found
from stainedglass_output_protection.server.request_body import with_members
from stainedglass_output_protection.server.stored_responses import makes_responses

# Whose requests have the member ``cache_salt``, in the type of vLLM 0.32.
_SALTED_CARRIERS = frozenset(
    {
        "chat",
        "completions",
        "data",
        "decisions",
        "embeddings",
        "messages",
        "responses",
        "results",
    }
)
_SALTED_PATHS = frozenset({"/inference/v1/generate", "/invocations"})


def owned_body(route: Route, request: SealedRequest, scope: Scope) -> bytes:
    """Return the body that the application gets.

    Raises:
        RequestError: it fetches, cancels or continues a response of somebody else.
    """
    if route.path in STORED_RESPONSES:
        _require_owner(request.owner, _response_id(route.path, path_below_root(scope)))
        return request.body
    defaults = {}
    forced = {}
    if route.carrier in _SALTED_CARRIERS or route.path in _SALTED_PATHS:
        defaults["cache_salt"] = cache_salt(request.owner)
    if makes_responses(route.path):
        previous = _previous_response(request.body)
        if previous is not None:
            _require_owner(request.owner, previous)
        forced["request_id"] = new_response_id(request.owner)
    if not defaults and not forced:
        return request.body
    return with_members(request.body, defaults=defaults, forced=forced)


def _response_id(template: str, path: str) -> str:
    depth = template.split("/").index("{response_id}")
    return path.split("/")[depth]


def _previous_response(body: bytes) -> Any:
    try:
        # The application's own parser: another one could read another value.
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return asked.get("previous_response_id") if isinstance(asked, dict) else None


def _require_owner(owner: bytes, response_id: Any) -> None:
    if not isinstance(response_id, str) or not owns_response(owner, response_id):
        raise response_not_found()
