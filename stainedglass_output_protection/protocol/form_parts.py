"""The parts of an upload (RFC 7578), read in linear time: it may be anybody's."""

from __future__ import annotations

import re

from stainedglass_output_protection.errors import MalformedFrameError

_MAX_HEADER = 1024
_MAX_PARTS = 128
# RFC 2046, section 5.1.1: at most 70 characters, none of which needs an escape.
_BOUNDARY = re.compile(
    r';[ \t]*boundary=(?:"([^"\\]{1,70})"|([^\s";,]{1,70}))[ \t]*(?:;|$)', re.I
)
_NAME = re.compile(rb';[ \t]*name="([^"\\\r\n]{0,200})"', re.I)
_DISPOSITION = re.compile(rb"(?:^|\r\n)content-disposition:[ \t]*form-data", re.I)


def parts_of(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    """Return name and content of each part that has a name.

    Raises:
        MalformedFrameError: there is no boundary, or more parts, or longer headers,
            than requests have.
    """
    found = _BOUNDARY.search(content_type[:_MAX_HEADER])
    if found is None:
        raise MalformedFrameError("An upload has no boundary.")
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("utf-8", "replace")
    _, *sections = (b"\r\n" + body).split(delimiter, _MAX_PARTS + 1)
    if len(sections) > _MAX_PARTS:
        raise MalformedFrameError("An upload has too many parts.")
    parts = []
    for section in sections:
        end = section.find(b"\r\n\r\n", 0, _MAX_HEADER)
        head = section[: max(end, 0)]
        name = _NAME.search(head) if _DISPOSITION.search(head) else None
        if name is not None:
            parts.append((name[1].decode("utf-8", "replace"), section[end + 4 :]))
    return parts
