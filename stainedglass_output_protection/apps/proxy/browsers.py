"""Web pages: which may use the proxy, and what browsers have to be told for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from stainedglass_output_protection.apps.http_messages import Headers, Message, Send
from stainedglass_output_protection.errors import ConfigurationError, RequestError

# No page lives here: one of our own origin is something that a gateway has sent.
_FOREIGN_SITES: Final = (b"cross-site", b"same-site", b"same-origin")
# What somebody on the way has written must not run as a page of this origin.
_NO_PAGE: Final = (
    (b"content-security-policy", b"sandbox"),
    (b"x-content-type-options", b"nosniff"),
)
_CORS: Final = b"access-control-"
_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"


def parse_origins(origins: Iterable[str]) -> frozenset[str]:
    """Return the origins of pages, as browsers send them.

    Raises:
        ConfigurationError: one of them is no origin.
    """
    found = {origin.lower().rstrip("/") for origin in origins}
    for origin in found:
        scheme, _, rest = origin.partition("://")
        if not (scheme and rest) or set("/*?#@ ") & set(rest) or not origin.isascii():
            raise ConfigurationError(
                f"--allow-origin {origin} is no origin: it must be like "
                "https://app.example.com or app://name, one for each option."
            )
    return frozenset(found)


class Browsers:
    """Knows the pages that may ask; ``origins`` are theirs."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    def refuse_foreign(self, headers: Headers) -> None:
        """Return if no page that is not one of the origins' has made the request.

        Raises:
            RequestError: one has, as browsers say by two headers.
        """
        origin = _origin(headers)
        site = one(headers, b"sec-fetch-site")
        if origin not in self._origins and (origin or site in _FOREIGN_SITES):
            raise RequestError(
                "This web page may not use the proxy. If it should, start the proxy "
                "with --allow-origin and the page's origin.",
                code="origin_refused",
                status=403,
            )

    def sender(self, headers: Headers, send: Send) -> Send:
        """Return a ``send`` by which the page can read the answer, if it may.

        What the server or a gateway says on that is left out.
        """
        added = self._added(headers)

        async def send_ours(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [
                    item
                    for item in without_cors(message["headers"])
                    if item[0].lower() not in dict(_NO_PAGE)
                ]
                message = {**message, "headers": [*kept, *_NO_PAGE, *added]}
            await send(message)

        return send_ours

    def _added(self, headers: Headers) -> Headers:
        origin = _origin(headers)
        if origin not in self._origins:
            return []
        wanted = one(headers, b"access-control-request-headers") or b"*"
        return [
            (b"access-control-allow-origin", origin.encode("ascii")),
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", wanted),
            (b"access-control-expose-headers", b"*"),
            (b"access-control-allow-private-network", b"true"),
            (b"vary", b"origin"),
        ]


def is_preflight(scope: Any) -> bool:
    """Tell whether a browser asks whether a page may ask."""
    headers = scope["headers"]
    asks = one(headers, b"access-control-request-method") and _origin(headers)
    return scope["method"] == "OPTIONS" and bool(asks)


def without_cors(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers without those between browsers and servers."""
    return [item for item in headers if not item[0].lower().startswith(_CORS)]


def one(headers: Headers, wanted: bytes) -> bytes:
    """Return the value of a header, or nothing."""
    return next((value for name, value in headers if name == wanted), b"")


def _origin(headers: Headers) -> str:
    return one(headers, b"origin").decode("latin-1").lower()
