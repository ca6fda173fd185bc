"""Whom the engine is told that a request came from: what was said, and who said it."""

from __future__ import annotations

from typing import Any, Final

from stainedglass_output_protection.apps.http_messages import Headers, end_to_end

_NAME: Final = b"x-forwarded-for"


def with_peer(scope: Any) -> Headers:
    """Return a request's headers with its peer at the end of ``X-Forwarded-For``.

    Only that last address is the sidecar's own word. At a socket there is none. What is
    for one connection is gone: it could name this header to be dropped.
    """
    client = scope.get("client")
    headers = end_to_end(scope["headers"])
    if not client or not client[0]:
        return headers
    said = [value for name, value in headers if name == _NAME]
    kept = [item for item in headers if item[0] != _NAME]
    peer = str(client[0]).encode("ascii", "replace")
    return [*kept, (_NAME, b", ".join([*said, peer]))]
