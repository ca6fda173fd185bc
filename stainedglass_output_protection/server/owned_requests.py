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
    if not route.adds_members:
        return _unmarked(route, request)
    defaults = {}
    if route.carrier in _SALTED_CARRIERS or route.path in _SALTED_PATHS:
        defaults["cache_salt"] = cache_salt(request.owner)
    if makes_responses(route.path):
        return _owned_creation(request, defaults)
    if not defaults:
        return request.body
    return with_members(request.body, defaults=defaults, forced={})


def _owned_creation(request: SealedRequest, defaults: dict[str, str]) -> bytes:
    """Return the body of a request that makes a response, which gets the owner's mark."""
    if _members(request.body) is None:
        return request.body  # What this parser refuses, the application refuses.
    forced = {"request_id": new_response_id(request.owner)}
    body = with_members(request.body, defaults=defaults, forced=forced)
    # Judged as the application gets it, by the application's own parser: another one
    # could read another value.
    members = _members(body)
    if members is None or members.get("request_id") != forced["request_id"]:
        raise response_not_found()
    previous = members.get("previous_response_id")
    if previous is not None:
        _require_owner(request.owner, previous)
    return body


def _unmarked(route: Route, request: SealedRequest) -> bytes:
    """Return the body for an application that would refuse members of ours.

    What it keeps has no owner's mark then, so nobody fetches or continues it.
    """
    if not makes_responses(route.path):
        return request.body
    # Each member once: of two, an application's parser could take the other one.
    body = with_members(request.body, defaults={}, forced={})
    members = _members(body)
    if members is not None and members.get("previous_response_id") is not None:
        raise response_not_found()
    return body


def _response_id(template: str, path: str) -> str:
    depth = template.split("/").index("{response_id}")
    return path.split("/")[depth]


def _members(body: bytes) -> dict[str, Any] | None:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None


def _require_owner(owner: bytes, response_id: Any) -> None:
    if not isinstance(response_id, str) or not owns_response(owner, response_id):
        raise response_not_found()
