"""Fetches a server's key document, with the standard library alone."""

from __future__ import annotations

import email.utils
import http.client
import time
import urllib.error
import urllib.request
from typing import IO, Any, Final
from urllib.parse import urlsplit

import msgspec

from stainedglass_output_protection.apps.connection_variables import (
    proxy_variable_of,
    usable_proxies,
)
from stainedglass_output_protection.apps.unreachable import why_unreachable
from stainedglass_output_protection.errors import (
    ConfigurationError,
    KeyDocumentError,
)
from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.protocol.encoding import JSON_ERRORS

TIMEOUT_S: Final = 10.0
MAX_SIZE: Final = 256 * 1024
_WRONG_URL: Final = "The URL must be like https://host:8000/v1, without a name, password or query in it."
_PIECE = 64 * 1024


class _Document(msgspec.Struct):
    document: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none: the answer would be another server's."""


def fetch_document(url: str) -> tuple[str, int | None]:
    """Return the text of the key document under ``url``, and the answer's date.

    ``url`` may end in ``/v1``, as the base URL of a client does. The date is in Unix
    milliseconds, and None if there was none. The proxies of the environment are heeded.

    Raises:
        ConfigurationError: it is not the URL of a server, or a proxy variable is wrong.
        KeyDocumentError: no document came back.
    """
    target = _document_url(url)
    proxies = urllib.request.ProxyHandler(_proxies(target))
    opener = urllib.request.build_opener(_NoRedirect, proxies)
    try:
        with opener.open(target, timeout=TIMEOUT_S) as answer:
            date = answer.headers.get("date")
            body = _read(answer)
    except urllib.error.HTTPError as error:
        error.close()
        raise KeyDocumentError(
            f"The server answered with status {error.code} and no key document. A "
            "router in front of it may not pass this path, which clients do without: "
            "ask the server itself. Else check the URL, and that output protection is on."
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, UnicodeError | http.client.InvalidURL):
            raise ConfigurationError(_WRONG_URL) from None
        raise KeyDocumentError(why_unreachable(error, target)) from None
    try:
        text = msgspec.json.decode(body, type=_Document).document
    except JSON_ERRORS:
        raise KeyDocumentError(
            "What the server answered is no key document. Check the URL, and that "
            "output protection is on."
        ) from None
    return text, _unix_ms(date)


def _document_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and not (parts.query or parts.fragment)
        usable = usable and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        usable = False
    if not usable or parts.scheme not in ("http", "https"):
        raise ConfigurationError(_WRONG_URL)
    base = url.rstrip("/?#").removesuffix("/v1").rstrip("/")
    return base + DOCUMENT_PATH


def _proxies(url: str) -> dict[str, str]:
    """Return the one proxy that leads to ``url``, by its scheme; none if none does."""
    variable = proxy_variable_of(url)
    if variable is None:
        return {}
    proxy = usable_proxies()[variable.removesuffix("_PROXY").lower()]
    if not proxy.lower().startswith(("http://", "https://")):
        raise ConfigurationError(
            f"The proxy that {variable} names is not one of http://, and this command "
            "can use no other: unset the variable, or put the server's host into "
            "NO_PROXY."
        )
    return {urlsplit(url).scheme: proxy}


def _read(answer: IO[bytes]) -> bytes:
    """Return a body; neither a large one nor a slow one holds us up."""
    deadline = time.monotonic() + TIMEOUT_S
    body = b""
    while piece := answer.read1(_PIECE):  # type: ignore[attr-defined]
        body += piece
        if len(body) > MAX_SIZE:
            raise KeyDocumentError("What the server answered is too large.")
        if time.monotonic() > deadline:
            raise TimeoutError
    return body


def _unix_ms(date: str | None) -> int | None:
    try:
        return round(email.utils.parsedate_to_datetime(date or "").timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
