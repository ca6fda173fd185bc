"""Who may ask the proxy: programs on this machine, or those that hold the token.

A loopback port can be reached by every page in the user's browser, so requests that a
foreign page may have made are refused.
"""

from __future__ import annotations

import hmac
import logging
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from stainedglass_output_protection.apps.forwarding import BrokenOffError, Forwarding
from stainedglass_output_protection.apps.http_messages import Headers, Receive, Send
from stainedglass_output_protection.apps.proxy.browsers import (
    Browsers,
    is_preflight,
    one,
    without_cors,
)
from stainedglass_output_protection.apps.proxy.failures import ApiFailures
from stainedglass_output_protection.client.request import Request
from stainedglass_output_protection.errors import RequestError

logger = logging.getLogger(__name__)

HEALTH_PATH: Final = "/-/health"
_KEY_HEADERS: Final = (b"authorization", b"x-api-key")
_SINGLE: Final = (b"host", b"origin", b"content-type", *_KEY_HEADERS)
_JSON: Final = [(b"content-type", b"application/json")]


@dataclass(frozen=True)
class Rules:
    """``hosts`` are names by which the proxy may be called (empty: any).

    ``token`` is what programs have to send as their API key; ``upstream_key`` goes to
    the server in its place. ``origins`` are pages that may ask. ``seals_key``: a key
    goes on in ``authorization`` alone, which is what is sealed. ``repr`` shows no key.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    token: str | None = field(default=None, repr=False)
    upstream_key: str | None = field(default=None, repr=False)
    seals_key: bool = False


class Access:
    """The outermost application: refuses, answers browsers, and exchanges keys."""

    def __init__(
        self, inner: Forwarding, rules: Rules, *, failures: ApiFailures
    ) -> None:
        self._inner = inner
        self._rules = rules
        self._failures = failures
        self._browsers = Browsers(rules.origins)
        token = rules.token
        self._token_hash = None if token is None else _hash(token.encode("ascii"))

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = scope["headers"]
        send = self._browsers.sender(headers, send)
        try:
            self._refuse_strangers(scope)
            if is_preflight(scope):
                await _answer(send, 204, [], b"")
            elif scope["path"] == HEALTH_PATH:
                await _answer(send, 200, _JSON, b'{"status":"ok"}')
            else:
                _refuse_prefix(scope)
                scope = {**scope, "headers": self._with_keys(headers)}
                await self._inner(scope, receive, send)
        except RequestError as error:
            logger.error("%s refused: %s: %s", scope["method"], error.code, error)
            await _answer(send, *self._failures.answer(error, scope["path"]))
        except BrokenOffError:
            # Without the end of the body, uvicorn cuts the connection.
            return

    def _refuse_strangers(self, scope: Any) -> None:
        headers = scope["headers"]
        if scope["http_version"] != "1.1":
            # Of 1.0 the end of an answer cannot be told from a cut.
            raise _refusal("HTTP/1.1 is needed.", "http_version_refused", 505)
        names = [name for name, _ in headers]
        if any(names.count(name) > 1 for name in _SINGLE):
            raise _refusal(
                "A header that must be there once is there twice.",
                "header_duplicated",
                400,
            )
        host = one(headers, b"host").decode("latin-1")
        if self._rules.hosts and _name_of(host) not in self._rules.hosts:
            raise _refusal(
                "The proxy does not go by the name in the header Host. Use its address "
                "as base URL: 127.0.0.1 or localhost.",
                "host_refused",
                421,
            )
        self._browsers.refuse_foreign(headers)
        if one(headers, b"upgrade").lower() == b"websocket":
            raise _refusal(
                "Websockets are not protected, so they are refused.",
                "websocket_refused",
                403,
            )

    def _with_keys(self, headers: Headers) -> Headers:
        """Return the headers as the server gets them.

        Raises:
            RequestError: the token is not there.
        """
        rules = self._rules
        if self._token_hash is not None:
            given = [value for name, value in headers if name in _KEY_HEADERS]
            hashes = [_hash(_without_scheme(value)) for value in given]
            found = [hmac.compare_digest(it, self._token_hash) for it in hashes]
            if not any(found):
                raise _refusal(
                    "The proxy's token is missing or wrong: give it to the program as "
                    "its API key.",
                    "invalid_api_key",
                    401,
                )
        # A browser sends the cookies of everything on this machine, whatever the port.
        ours = {b"origin", b"referer"}
        if one(headers, b"sec-fetch-site") or one(headers, b"origin"):
            ours.add(b"cookie")
        kept = [item for item in without_cors(headers) if item[0] not in ours]
        if self._token_hash is not None or rules.upstream_key is not None:
            kept = [item for item in kept if item[0] not in _KEY_HEADERS]
        if rules.upstream_key is not None:
            key = f"Bearer {rules.upstream_key}".encode("ascii")
            kept.append((b"authorization", key))
        elif rules.seals_key:
            kept = _with_one_key(kept)
        return kept


def _refusal(message: str, code: str, status: int) -> RequestError:
    return RequestError(message, code=code, status=status)


def _name_of(host: str) -> str:
    """Return the name in a ``Host`` header, without port and brackets."""
    if set(host) & set("@/\\?#"):
        return ""  # Parsers disagree on what the name is.
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _refuse_prefix(scope: Any) -> None:
    """Return if nothing stands before the API's path: it would be another server's."""
    path = scope["raw_path"].decode("ascii", "replace").partition("?")[0]
    if Request("GET", ("", "", None), path, path, "", "", "", b"").prefix:
        raise _refusal(
            "There is something before the API's path. Put it in the URL that the "
            "proxy is started with, and not in the program's base URL.",
            "path_refused",
            404,
        )


def _with_one_key(headers: Headers) -> Headers:
    """Return the headers without ``x-api-key``, whose key is where vLLM reads it."""
    key = _without_scheme(one(headers, b"x-api-key"))
    kept = [item for item in headers if item[0] != b"x-api-key"]
    if key and not one(kept, b"authorization"):
        kept = [item for item in kept if item[0] != b"authorization"]
        kept.append((b"authorization", b"Bearer " + key))
    return kept


def _without_scheme(value: bytes) -> bytes:
    scheme, space, rest = value.partition(b" ")
    return rest.strip() if space and scheme.lower() == b"bearer" else value.strip()


def _hash(value: bytes) -> bytes:
    # Compared in place of the token, so that its length does not show.
    return sha256(value).digest()


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    if body and b"content-length" not in dict(headers):
        headers = [*headers, (b"content-length", str(len(body)).encode("ascii"))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
