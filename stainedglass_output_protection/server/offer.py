"""What a request offers: its client key, wherever it travels, and its container.

Specification: ``protocol.md#client-key`` and ``protocol.md#keyless-requests``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.types import Receive, Scope

from stainedglass_output_protection.protocol.constants import OPAQUE_MEDIA_TYPE
from stainedglass_output_protection.protocol.keys import (
    ClientKeyPair,
    parse_client_key,
)
from stainedglass_output_protection.server.policy import KeylessPolicy
from stainedglass_output_protection.server.refusals import (
    client_key_duplicated,
    client_key_missing,
)
from stainedglass_output_protection.server.request_body import (
    may_be_json,
    read_body,
    replaying,
    take_member,
    with_length,
)

# RFC 9110, section 12.4.2: a weight of zero.
_NOT_WANTED = re.compile(r"q=0(\.0{0,3})?")


class Offer(NamedTuple):
    """A request that may be served, as the application is to see it.

    ``key`` is None if it is to be answered in the clear, and nobody's if ``is_keyless``; ``body`` is None if it was not
    read.
    """

    key: bytes | None
    is_keyless: bool
    wants_opaque: bool
    body: bytes | None
    scope: Scope
    receive: Receive


async def read_offer(
    scope: Scope,
    receive: Receive,
    *,
    header: str,
    member: str,
    keyless: KeylessPolicy,
    reads_any_body: bool = False,
) -> Offer | None:
    """Return what a request offers; None if its client went away.

    Its body is read unless it is an upload by its content type, or ``reads_any_body``.

    Raises:
        ClientKeyError: the key is missing, duplicated or malformed.
    """
    offered = _values(scope, header.encode("ascii"))
    if len(offered) > 1:
        raise client_key_duplicated()
    body = None
    if reads_any_body or may_be_json(scope):
        body = await read_body(receive)
        if body is None:
            return None
        taken = take_member(body, member)
        if taken.value is not None:
            offered.append(taken.value)
            scope = with_length(scope, len(taken.body))
        body = taken.body
        receive = replaying(body, receive)
    if len(set(offered)) > 1:
        raise client_key_duplicated()
    key = parse_client_key(offered[0]) if offered else _key_for_none(keyless)
    return Offer(key, not offered, wants_opaque(scope), body, scope, receive)


def header_key(scope: Scope, header: str) -> bytes:
    """Return the client public key that a request offers in its header.

    Raises:
        ClientKeyError: it is missing, duplicated or malformed.
    """
    offered = _values(scope, header.encode("ascii"))
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
    for item in ",".join(_values(scope, b"accept")).lower().split(","):
        media_type, *parameters = map(str.strip, item.split(";"))
        if media_type == OPAQUE_MEDIA_TYPE:
            return not any(map(_NOT_WANTED.fullmatch, parameters))
    return False


def _values(scope: Scope, wanted: bytes) -> list[str]:
    return [
        value.decode("latin-1") for name, value in scope["headers"] if name == wanted
    ]
