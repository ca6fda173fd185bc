"""Opening sealed requests (``protocol.md#opening``)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from starlette.types import Scope

from stainedglass_output_protection.errors import (
    DecryptionError,
    KeysUnavailableError,
    MalformedFrameError,
)
from stainedglass_output_protection.protocol.constants import (
    CONTAINER_OPAQUE,
    PROFILE_SEALED,
    SEALED_REQUEST_HEADER,
)
from stainedglass_output_protection.protocol.key_schedule import RequestSecrets
from stainedglass_output_protection.protocol.keys import (
    encode_client_key,
    parse_client_key,
)
from stainedglass_output_protection.protocol.request_carriers import (
    agree,
    may_carry,
    routed_members,
    target_of,
    text_in,
)
from stainedglass_output_protection.protocol.sealed_request import (
    SealedMessage,
    SealedRequest,
)
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.matching import path_below_root
from stainedglass_output_protection.server.refusals import (
    client_key_duplicated,
    key_unknown,
    request_too_large,
    sealed_request_malformed,
    sealed_request_mismatch,
)
from stainedglass_output_protection.server.replay_store import ReplayStore
from stainedglass_output_protection.server.response_keys import ResponseKeys

logger = logging.getLogger(__name__)

_HEADER = SEALED_REQUEST_HEADER.encode("ascii")
# Of the outer request's headers the application gets these only: anybody on the way may
# have added one that changes the answer. They say who asks, through what.
_PASSED_HEADERS = frozenset(
    {
        b"authorization",
        b"host",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"x-data-parallel-rank",
        b"x-request-id",
    }
)


class Opened(NamedTuple):
    """A sealed request that has opened, and what its answer is sealed with."""

    request: SealedRequest
    keys: ResponseKeys
    retires_at: int

    @property
    def wants_opaque(self) -> bool:
        """Whether the answer is asked for in container ``opaque``."""
        return self.request.container == CONTAINER_OPAQUE


def sealed_text(scope: Scope, body: bytes, *, limit: int) -> str | None:
    """Return the text of a sealed request in its header or body; None if it has none.

    Raises:
        RequestError: there is more than one, or it is above the ``limit`` (bytes).
    """
    headers = [value for name, value in scope["headers"] if name == _HEADER]
    if not headers and not may_carry(body):
        return None
    if max(map(len, [body, *headers])) > limit:
        raise request_too_large()
    try:
        text = text_in(content_type_of(scope), body)
    except MalformedFrameError:
        raise sealed_request_malformed() from None
    texts = [value.decode("latin-1") for value in headers]
    if text is not None:
        texts.append(text)
    if len(texts) > 1:
        raise sealed_request_malformed()
    return texts[0] if texts else None


def open_request(text: str, *, ring: KeyRing, offered: Sequence[str] = ()) -> Opened:
    """Open the text of a sealed request.

    ``offered`` are client keys that the request has in the clear.

    Raises:
        RequestError: as the specification says, up to its fifth step.
        KeysUnavailableError: the ring has no usable key at all.
    """
    try:
        message = SealedMessage.from_text(text)
    except MalformedFrameError:
        raise sealed_request_malformed() from None
    client_key = parse_client_key(encode_client_key(message.client_public_key))
    if any(value != encode_client_key(client_key) for value in offered):
        raise client_key_duplicated()
    now_ms = unix_ms()
    current = ring.current(now_ms)
    epoch_key = ring.by_id(message.key_id, now_ms)
    if epoch_key is None:
        raise key_unknown(current.document_text)
    digest = epoch_key.statement.digest
    try:
        request = message.open(digest, epoch_key.open)
    except (DecryptionError, MalformedFrameError):
        raise sealed_request_malformed() from None
    keys = ResponseKeys(
        client_key,
        epoch_key.exchange(client_key),
        epoch_key.encoded_statement,
        epoch_key.public_key_base64,
        message.suite,
        PROFILE_SEALED,
        RequestSecrets(request.response_secret, message.request_hash, digest),
        epoch_key.key_id_hex,
    )
    return Opened(request, keys, epoch_key.retires_at)


def enter(opened: Opened, store: ReplayStore) -> Callable[[], None]:
    """Record that a request was seen; return what takes that back, and never raises.

    Raises:
        RequestError: it was seen before, or is badly timed.
        KeysUnavailableError: the store does not work.
    """
    secret = opened.request.response_secret
    store.enter(
        secret,
        time_ms=opened.request.time_ms,
        retires_at=opened.retires_at,
        now_ms=unix_ms(),
    )

    def release() -> None:
        try:
            store.release(secret)
        except KeysUnavailableError as error:
            logger.error("A failed request stays recorded: %s", error)

    return release


def compare_target(opened: Opened, scope: Scope) -> None:
    """Compare the method and target of a request with those inside. Enter it after.

    Raises:
        RequestError: they differ.
    """
    request = opened.request
    query = scope.get("query_string", b"").decode("latin-1")
    target = target_of(path_below_root(scope), query)
    if request.method != scope["method"] or request.target != target:
        raise sealed_request_mismatch()


def compare_members(opened: Opened, scope: Scope, outer_body: bytes) -> None:
    """Compare the members of a request with those inside. Enter it before.

    Otherwise one recorded request would answer any number of guesses at its members.

    Raises:
        RequestError: they differ.
    """
    request = opened.request
    outer = routed_members(content_type_of(scope), outer_body)
    inner = routed_members(request.content_type, request.body)
    if not agree(outer, inner):
        raise sealed_request_mismatch()


def inner_scope(
    opened: Opened, scope: Scope, length: int, passed: frozenset[str]
) -> Scope:
    """Return the scope of the request that was sealed, whose body has ``length``.

    ``passed`` are names of further outer headers, in lower case, that it keeps.
    """
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if name in _PASSED_HEADERS or name.decode("latin-1") in passed
    ]
    if opened.request.content_type:
        content_type = opened.request.content_type.encode("latin-1", "replace")
        headers.append((b"content-type", content_type))
    headers.append((b"content-length", str(length).encode("ascii")))
    return {**scope, "headers": headers}


def content_type_of(scope: Scope) -> str:
    """Return a request's content type; empty if it has none."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type: str = value.decode("latin-1")
            return content_type
    return ""
