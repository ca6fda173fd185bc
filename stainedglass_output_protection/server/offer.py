"""What a request offers: its client key, wherever it travels, and its container.

Specification: ``protocol.md#client-key``, ``protocol.md#keyless-requests`` and, for
requests that are sealed, ``protocol.md#opening``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.types import Receive, Scope

from stainedglass_output_protection.protocol.constants import (
    OPAQUE_MEDIA_TYPE,
    SEALED_REQUEST_HEADER,
)
from stainedglass_output_protection.protocol.keys import (
    ClientKeyPair,
    encode_client_key,
    parse_client_key,
)
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.policy import KeylessPolicy
from stainedglass_output_protection.server.refusals import (
    client_key_duplicated,
    client_key_missing,
    sealed_request_required,
)
from stainedglass_output_protection.server.request_body import (
    limited,
    may_be_json,
    read_body,
    read_upload,
    replaying,
    take_member,
    with_length,
)
from stainedglass_output_protection.server.sealed_requests import (
    Opened,
    open_request,
    sealed_text,
)

# Where the layer in front of authentication leaves what it has opened.
OPENED = "output_protection.opened"
_SEALED = SEALED_REQUEST_HEADER.encode("ascii")
# RFC 9110, section 12.4.2: a weight of zero.
_NOT_WANTED = re.compile(r"q=0(\.0{0,3})?")


class Offer(NamedTuple):
    """A request that may be served.

    ``key`` is None if it is to be answered in the clear, and nobody's if ``is_keyless``.
    ``scope`` and ``receive`` are the outer request's, less a member with the client
    key; ``body`` is what was read of it. ``opened`` is there if it is sealed; then
    ``receive`` gives only what comes after the body, which was read.
    """

    key: bytes | None
    is_keyless: bool
    wants_opaque: bool
    body: bytes
    scope: Scope
    receive: Receive
    opened: Opened | None = None


class OfferRules(NamedTuple):
    """What an operator says of offers: names, limits in bytes, and policies.

    ``max_request`` is that of any body, None if there is none.
    """

    header: str
    member: str
    keyless: KeylessPolicy
    max_sealed: int
    requires_sealed: bool
    max_request: int | None


async def read_offer(
    scope: Scope,
    receive: Receive,
    *,
    ring: KeyRing,
    rules: OfferRules,
    reads_any_body: bool = False,
) -> Offer | None:
    """Return what a request offers; None if its client went away.

    An upload with a key in its header goes to the application in its pieces, unless
    ``reads_any_body``; one without is sealed or has no key.

    Raises:
        RequestError: a key is missing, duplicated or malformed, a sealed request does
            not open, or the body is too long. The offer's ``receive`` raises the last
            one too, of an upload in its pieces.
        KeysUnavailableError: it is sealed, and the ring has no usable key.
    """
    offered = values_of(scope, rules.header.encode("ascii"))
    if len(offered) > 1:
        raise client_key_duplicated()
    receive = limited(scope, receive, rules.max_request)
    body = b""
    after = receive
    if may_be_json(scope) or (reads_any_body and offered):
        whole = await read_body(receive)
        if whole is None:
            return None
        taken = take_member(whole, rules.member)
        if taken.value is not None:
            offered.append(taken.value)
            scope = with_length(scope, len(taken.body))
        body = taken.body
        receive = replaying(body, receive)
    elif not offered or OPENED in scope or values_of(scope, _SEALED):
        upload = await read_upload(receive, rules.max_sealed)
        if upload is None:
            return None
        body = upload.body
        receive = replaying(body, receive, has_more=upload.has_more)
    opened = scope.get(OPENED)
    if opened is None:
        text = sealed_text(scope, body, limit=rules.max_sealed)
        if text is not None:
            opened = open_request(text, ring=ring, offered=offered)
    if opened is not None:
        if set(offered) - {encode_client_key(opened.keys.client_public_key)}:
            raise client_key_duplicated()
        key = opened.keys.client_public_key
        wants = opened.wants_opaque
        return Offer(key, False, wants, body, scope, after, opened)
    if rules.requires_sealed:
        raise sealed_request_required()
    if len(set(offered)) > 1:
        raise client_key_duplicated()
    offered_key = (
        parse_client_key(offered[0]) if offered else _key_for_none(rules.keyless)
    )
    wants = wants_opaque(scope)
    return Offer(offered_key, not offered, wants, body, scope, receive)


def header_key(scope: Scope, header: str) -> bytes:
    """Return the client public key that a request offers in its header.

    Raises:
        ClientKeyError: it is missing, duplicated or malformed.
    """
    offered = values_of(scope, header.encode("ascii"))
    if len(offered) != 1:
        raise client_key_duplicated() if offered else client_key_missing()
    return parse_client_key(offered[0])


def _key_for_none(keyless: KeylessPolicy) -> bytes | None:
    if keyless is KeylessPolicy.REQUIRED:
        raise client_key_missing()
    if keyless is KeylessPolicy.ALLOW:
        return None
    # The private half is dropped here: nobody can open what is sealed to this key.
    return ClientKeyPair.generate().public_key


def wants_opaque(scope: Scope) -> bool:
    """Tell whether a request asks for container ``opaque``."""
    for item in ",".join(values_of(scope, b"accept")).lower().split(","):
        media_type, *parameters = map(str.strip, item.split(";"))
        if media_type == OPAQUE_MEDIA_TYPE:
            return not any(map(_NOT_WANTED.fullmatch, parameters))
    return False


def values_of(scope: Scope, wanted: bytes) -> list[str]:
    """Return the values of all headers with the name ``wanted``, in lower case."""
    return [
        value.decode("latin-1") for name, value in scope["headers"] if name == wanted
    ]
