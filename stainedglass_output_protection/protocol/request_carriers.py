"""Where a sealed request's text stands in a clear one (``protocol.md#carriage``)."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import UNSET

from stainedglass_output_protection.errors import MalformedFrameError
from stainedglass_output_protection.protocol.constants import REQUEST_PREFIX
from stainedglass_output_protection.protocol.encoding import JSON_ERRORS
from stainedglass_output_protection.protocol.form_parts import parts_of
from stainedglass_output_protection.protocol.routes import TABLE, Route, RouteClass

_PREFIX = REQUEST_PREFIX.encode("ascii")
_MULTIPART = "multipart/"
_BOUNDARY = "sealed-request"
_ROUTED = ("model", "stream")
# A string value, not a name, and not inside a longer string.
_TEXT_VALUE = re.compile(
    rb'(?<!\\)("' + re.escape(_PREFIX) + rb'[^"\\]*(?:\\.[^"\\]*)*")(?![ \t\r\n]*:)'
)


class _Routed(msgspec.Struct):
    model: Any = UNSET
    stream: Any = UNSET


_routed = msgspec.json.Decoder(_Routed)


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
    elif carrier == "results":
        members["query"] = text
        members["documents"] = [""]
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
        texts = [value for _, value in parts_of(content_type, body) if is_text(value)]
        if len(texts) > 1:
            raise MalformedFrameError("There is more than one sealed request.")
        return texts[0].decode("ascii", "replace") if texts else None
    try:
        # Looked through, and nothing made of it: it may be anybody's, and large.
        msgspec.json.decode(body, type=msgspec.Raw)
        match = _TEXT_VALUE.search(body)
        # After the prefix there may be escapes: some encoders write them for slashes.
        return msgspec.json.decode(match[1], type=str) if match else None
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
        while start >= 0 and not TABLE.serves(path[start:]):
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
            found = dict(parts_of(content_type, body))
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
        routed = _routed.decode(body)
    except JSON_ERRORS:
        return {}
    values = {"model": routed.model, "stream": routed.stream}
    return {name: value for name, value in values.items() if value is not UNSET}


def agree(outer: dict[str, Any], inner: dict[str, Any]) -> bool:
    """Tell whether the members that routers read say what the sealed body says."""
    said = {"model": inner.get("model"), "stream": inner.get("stream", False)}
    return all(
        value == said[name] and type(value) is type(said[name])
        for name, value in outer.items()
    )
