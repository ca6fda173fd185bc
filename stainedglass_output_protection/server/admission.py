"""What becomes of a request that offers a key: served, refused, and sealed with what."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from starlette.types import Receive, Scope

from stainedglass_output_protection.errors import RequestError
from stainedglass_output_protection.protocol.routes import Route
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.offer import Offer
from stainedglass_output_protection.server.owned_requests import owned_body
from stainedglass_output_protection.server.provoked_error import PROVOKED_ERRORS
from stainedglass_output_protection.server.refusals import key_unknown
from stainedglass_output_protection.server.replay_store import ReplayStore
from stainedglass_output_protection.server.request_body import replaying
from stainedglass_output_protection.server.response_keys import (
    ResponseKeys,
    output_keys,
)
from stainedglass_output_protection.server.sealed_requests import (
    Opened,
    compare_members,
    compare_target,
    enter,
    inner_scope,
)
from stainedglass_output_protection.server.stored_responses import refuse_stored


class Admitted(NamedTuple):
    """How a request is served: as ``scope`` and ``receive``, or refused by ``refusal``.

    ``keys`` is called when its answer begins, None if that is to be in the clear;
    ``release`` when it is a 5xx.
    """

    scope: Scope
    receive: Receive
    keys: Callable[[], ResponseKeys] | None
    refusal: RequestError | None = None
    release: Callable[[], None] = lambda: None


def admit_clear(
    offer: Offer, route: Route, ring: KeyRing, *, has_store: bool, allows_stored: bool
) -> Admitted:
    """Admit a request that is not sealed. A refusal of what it asks is sealed."""
    client_key = offer.key
    keys = None
    if client_key is not None:
        # Under the epoch of the moment when it begins: it may wait long in a queue.
        def keys() -> ResponseKeys:
            return output_keys(ring.current(unix_ms()), client_key)

    refusal = None
    if not allows_stored:
        try:
            refuse_stored(route.path, offer.body, has_store=has_store)
        except RequestError as error:
            refusal = error
    return Admitted(offer.scope, offer.receive, keys, refusal)


def admit_sealed(
    offer: Offer,
    opened: Opened,
    route: Route,
    ring: KeyRing,
    store: ReplayStore,
    *,
    passed_headers: frozenset[str],
) -> Admitted:
    """Admit a sealed request. A refusal is sealed like an answer.

    ``passed_headers`` are outer headers that the application gets beside the usual ones.

    Raises:
        RequestError: the key that opened it has retired since; it is not sealed.
        KeysUnavailableError: the replay store does not work.
    """

    def keys() -> ResponseKeys:
        return opened.keys

    try:
        # First, as routers may ask another route for the prompt's tokens before.
        compare_target(opened, offer.scope)
        release = enter(opened, store)
        compare_members(opened, offer.scope, offer.body)
        PROVOKED_ERRORS.refuse_if_asked(opened.request)
        body = owned_body(route, opened.request, offer.scope)
    except RequestError as error:
        now_ms = unix_ms()
        if opened.retires_at <= now_ms and error.code == "request_mistimed":
            # As if it had come a moment later: its client seals it to the next key.
            raise key_unknown(ring.current(now_ms).document_text) from None
        return Admitted(offer.scope, offer.receive, keys, error)
    scope = inner_scope(opened, offer.scope, len(body), passed_headers)
    return Admitted(scope, replaying(body, offer.receive), keys, None, release)
