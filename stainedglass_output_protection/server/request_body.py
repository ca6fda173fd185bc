"""The request's body, read before the application sees it.

The client key may be a member of it, which is taken out: some routers drop headers
(``protocol.md#client-key``).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from starlette.types import Message, Receive, Scope

from stainedglass_output_protection.protocol.encoding import JSON_ERRORS
from stainedglass_output_protection.server.refusals import (
    body_too_large,
    client_key_duplicated,
)

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
# What the application's own parser raises: text that is no JSON, or nested without end.
_PARSER_ERRORS = (ValueError, RecursionError)


_NULL = msgspec.Raw(b"null")
_UPLOADS = (b"multipart/", b"audio/", b"application/octet-stream")


class Pairs(list[tuple[str, Any]]):
    """A JSON object with its members in order, repeated ones included."""

    __slots__ = ()


class Upload(NamedTuple):
    """The beginning of an upload, and whether there is more of it to receive."""

    body: bytes
    has_more: bool


class Taken(NamedTuple):
    """A body without the member, and the member's value if it was there."""

    body: bytes
    value: str | None


def may_be_json(scope: Scope) -> bool:
    """Tell whether a request's body could be read as JSON: all but uploads could."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            media_type: bytes = value.partition(b";")[0].strip().lower()
            return not media_type.startswith(_UPLOADS)
    return True


def drop_trailers(scope: Scope) -> None:
    """Keep what follows a request's body from becoming headers of it.

    The caller must do so before anything of the body is received: some servers add
    trailers to the list that they gave. Trailers that such a server had read before it
    called the application look like headers, and stay. The scope stays the same one,
    since what is outside may look for the route in it.
    """
    scope["headers"] = list(scope["headers"])


def limited(scope: Scope, receive: Receive, limit: int | None) -> Receive:
    """Return ``receive`` of a body of up to ``limit`` bytes; None is any number.

    Raises:
        RequestError: the request says that it is longer. What is returned raises it if
            more has come.
    """
    if limit is None:
        return receive
    if _declared_length(scope) > limit:
        raise body_too_large()
    room = limit

    async def counted() -> Message:
        nonlocal room
        message = await receive()
        room -= len(message.get("body", b""))
        if room < 0:
            raise body_too_large()
        return message

    return counted


def _declared_length(scope: Scope) -> int:
    """Return the length that a request says; 0 if it says none that is a number."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            with contextlib.suppress(ValueError):
                return int(value)
    return 0


async def read_body(receive: Receive) -> bytes | None:
    """Return the whole body; None if the client went away before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_upload(receive: Receive, limit: int) -> Upload | None:
    """Return a body up to ``limit`` bytes; None if the client went away before that."""
    parts: list[bytes] = []
    size = 0
    has_more = True
    while has_more and size <= limit:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        has_more = message.get("more_body", False)
    return Upload(b"".join(parts), has_more)


def replaying(body: bytes, receive: Receive, *, has_more: bool = False) -> Receive:
    """Return a ``receive`` that gives ``body`` first and then what still comes."""
    waiting: list[Message] = [
        {"type": "http.request", "body": body, "more_body": has_more}
    ]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


def with_length(scope: Scope, length: int) -> Scope:
    """Return the scope of a request whose body has another length now."""
    headers = [
        (name, str(length).encode("ascii") if name == b"content-length" else value)
        for name, value in scope["headers"]
    ]
    return {**scope, "headers": headers}


def take_member(body: bytes, name: str) -> Taken:
    """Take the member ``name`` out of a JSON object; a value that is no string is "".

    Raises:
        ClientKeyError: it occurs twice.
    """
    if name.encode("ascii") not in body:
        return Taken(body, None)
    try:
        pairs = json.loads(body, object_pairs_hook=Pairs)
    except _PARSER_ERRORS:
        return Taken(body, None)
    if not isinstance(pairs, Pairs):
        return Taken(body, None)
    values = [value for member, value in pairs if member == name]
    if not values:
        return Taken(body, None)
    if len(values) > 1:
        raise client_key_duplicated()
    try:
        rest = _without(body, name)
    except _PARSER_ERRORS:
        return Taken(body, "")  # Nested without end, or nearly: no key is read in it.
    return Taken(rest, values[0] if isinstance(values[0], str) else "")


def with_members(
    body: bytes, *, defaults: dict[str, str], forced: dict[str, str]
) -> bytes:
    """Return a JSON object with members added; any other body stays as it is.

    ``defaults`` are added where the object has no such member, or null.
    """

    def add(members: dict[str, Any]) -> None:
        for name, value in defaults.items():
            if members.get(name) in (None, _NULL):
                members[name] = value
        members.update(forced)

    try:
        return _changed(body, add)
    except (*_PARSER_ERRORS, AttributeError):
        return body  # The application refuses it.


def _without(body: bytes, name: str) -> bytes:
    """Return the object without a member; the others keep their bytes."""
    return _changed(body, lambda members: members.pop(name, None))


def _changed(body: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    try:
        members: dict[str, Any] = _members.decode(body)
    except JSON_ERRORS:
        # The application's parser takes more than JSON: NaN, other encodings.
        parsed = json.loads(body)
        change(parsed)
        return json.dumps(parsed).encode("utf-8")
    change(members)
    return msgspec.json.encode(members)
