"""Where a sealed request's text stands in a clear one (``protocol.md#carriage``)."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any

import msgspec

from stainedglass_output_protection.errors import MalformedFrameError
from stainedglass_output_protection.protocol.constants import REQUEST_PREFIX
from stainedglass_output_protection.protocol.encoding import (
    JSON_ERRORS,
    first_text,
)
from stainedglass_output_protection.protocol.routes import TABLE, Route, RouteClass

_PREFIX = REQUEST_PREFIX.encode("ascii")
_MULTIPART = "multipart/"
_BOUNDARY = "sealed-request"
_ROUTED = ("model", "stream")


def carrier_of(path: str) -> str:
    """Return the carrier of the protected route that a URL's raw path ends with."""
    start = 0
    while start >= 0:
        row: Route = TABLE.row(path[start:])
        if row.route_class is RouteClass.PROTECTED:
            return row.carrier
        start = path.find("/", start + 1)
    return "sealed"


def outer_json(carrier: str, text: str, shown: dict[str, Any]) -> bytes:
    """Return the JSON body that carries ``text`` with the ``shown`` members around it."""
    members = dict(shown)
    if carrier in ("chat", "messages", "count"):
        members["messages"] = [{"role": "user", "content": text}]
        if carrier == "messages":
            members["max_tokens"] = 1
    elif carrier == "completions":
        members["prompt"] = text
    elif carrier in ("responses", "embeddings"):
        members["input"] = text
    else:
        members["sealed"] = text
    return msgspec.json.encode(members)


def outer_multipart(text: str, shown: dict[str, Any]) -> tuple[str, bytes]:
    """Return the content type and body of an upload that carries ``text``."""
    parts = [
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in shown.items()
    ]
    parts.append(
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="file"; '
        'filename="sealed"\r\ncontent-type: application/octet-stream\r\n\r\n'
        f"{text}\r\n--{_BOUNDARY}--\r\n"
    )
    return f"multipart/form-data; boundary={_BOUNDARY}", "".join(parts).encode("utf-8")


def shown_members(body: bytes, exposed: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return ``model`` and ``stream`` of a JSON body, and what the caller exposes."""
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except JSON_ERRORS:
        return {}
    return {
        name: members[name] for name in (*_ROUTED, *sorted(exposed)) if name in members
    }


def text_in(content_type: str, body: bytes) -> str | None:
    """Return the text of a sealed request in a body; None if there is none.

    Raises:
        MalformedFrameError: there is something like it that is not the only one, or
            the body cannot be parsed.
    """
    if not may_carry(body):
        return None
    if content_type.lower().startswith(_MULTIPART):
        texts = [value for _, value in _parts(content_type, body) if is_text(value)]
        if len(texts) > 1:
            raise MalformedFrameError("There is more than one sealed request.")
        return texts[0].decode("ascii", "replace") if texts else None
    try:
        return first_text(msgspec.json.decode(body), REQUEST_PREFIX)
    except JSON_ERRORS:
        raise MalformedFrameError("A sealed request's body is not JSON.") from None


def may_carry(body: bytes) -> bool:
    """Tell whether there may be the text of a sealed request in a body."""
    return _PREFIX in body


def target_of(path: str, query: str) -> str:
    """Return a percent-decoded URL path, without what a gateway adds, and its query."""
    start = f"{path}/".find("/v1/")
    if start < 0:
        start = 0
        while start >= 0 and path[start:] not in TABLE:
            start = path.find("/", start + 1)
    target = path[max(start, 0) :]
    return f"{target}?{query}" if query else target


def is_text(value: bytes) -> bool:
    """Tell whether a part's content is the text of a sealed request."""
    return value.startswith(_PREFIX)


def routed_members(content_type: str, body: bytes) -> dict[str, Any]:
    """Return ``model`` and ``stream`` of a request's body, sealed or around it.

    Nothing of a body that cannot be parsed: the application refuses it.
    """
    if content_type.lower().startswith(_MULTIPART):
        try:
            found = dict(_parts(content_type, body))
        except MalformedFrameError:
            return {}
        members: Any = {
            name: found[name].decode("utf-8", "replace")
            for name in _ROUTED
            if name in found
        }
        if "stream" in members:
            members["stream"] = members["stream"].lower() in ("true", "1", "on", "yes")
        return members  # type: ignore[no-any-return]
    try:
        members = msgspec.json.decode(body)
    except JSON_ERRORS:
        return {}
    if not isinstance(members, dict):
        return {}
    return {name: members[name] for name in _ROUTED if name in members}


def agree(outer: dict[str, Any], inner: dict[str, Any]) -> bool:
    """Tell whether the members that routers read say what the sealed body says."""
    said = {"model": inner.get("model"), "stream": inner.get("stream", False)}
    return all(
        value == said[name] and type(value) is type(said[name])
        for name, value in outer.items()
    )


def _parts(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    """Return name and content of each part (RFC 2046, section 5.1; RFC 7578)."""
    boundary = _header("content-type", content_type).get_boundary()
    if not boundary:
        raise MalformedFrameError("An upload has no boundary.")
    delimiter = b"\r\n--" + boundary.encode("utf-8", "replace")
    _, *sections = (b"\r\n" + body).split(delimiter)
    found = []
    for section in sections:
        head, _, content = section.partition(b"\r\n\r\n")
        lines = BytesHeaderParser().parsebytes(head.lstrip())
        name = lines.get_param("name", header="content-disposition")
        if isinstance(name, str):
            found.append((name, content))
    return found


def _header(name: str, value: str) -> Message:
    message = Message()
    message[name] = value.replace("\r", "").replace("\n", "")
    return message
