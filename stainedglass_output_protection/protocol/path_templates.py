"""Paths with names in them, as applications mount them: ``/adapters/{adapter_name}``."""

from __future__ import annotations

import re

_NAME = re.compile(r"\\{\w+\\}")
# By its converter a name may take in slashes, as in {path:path}.
_CONVERTED = re.compile(r"{\w+:\w+}")


def pattern_of(template: str) -> re.Pattern[str]:
    """Return what matches the paths of ``template``; no name takes in a slash."""
    return re.compile(_NAME.sub("[^/]+", re.escape(template)))


def may_coincide(template: str, row: str) -> bool:
    """Tell whether ``template`` may match a path of ``row``, or what stands before one.

    An application that is mounted at ``/v1`` serves what is below by that path. A name in
    ``row`` must be a whole segment. A name with a converter counts as the whole rest.
    """
    segments, row_segments = template.split("/"), row.split("/")
    for one, other in zip(segments, row_segments, strict=False):
        if _CONVERTED.search(one):
            return True
        if not (pattern_of(one).fullmatch(other) or pattern_of(other).fullmatch(one)):
            return False
    return len(segments) <= len(row_segments)
