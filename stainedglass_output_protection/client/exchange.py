"""One attempt of one request and its answer, without I/O (``protocol.md#http``).

The drivers in ``transport.py`` send and read; every decision is made here, once for
sync and async and for every HTTP library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stainedglass_output_protection.client.bodies import (
    Body,
    MislabelledBody,
    OpaqueBody,
    StreamBody,
    UnaryBody,
)
from stainedglass_output_protection.client.request import Request
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.client.verdict import MARK_HEADER, Mark, Verdict
from stainedglass_output_protection.errors import (
    RedirectRefusedError,
    UnprotectedResponseError,
)
from stainedglass_output_protection.protocol.constants import (
    CONTAINER_FIELDS,
    CONTAINER_OPAQUE,
    OPAQUE_MEDIA_TYPE,
)
from stainedglass_output_protection.protocol.head import Parameters
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.statement import Statement

RawHeaders = Sequence[tuple[bytes, bytes]]

_EVENT_STREAM = "text/event-stream"
_JSON_SPACE = b" \t\r\n"
_MARK_HEADER_BYTES = MARK_HEADER.encode("ascii")
# They describe the outer body, of which the caller sees nothing.
_OUTER_HEADERS = frozenset(
    {b"content-length", b"content-encoding", b"transfer-encoding", _MARK_HEADER_BYTES}
)


@dataclass(frozen=True)
class Report:
    """What the caller is shown in place of the outer response's head."""

    status: int
    headers: list[tuple[bytes, bytes]]
    verdict: Verdict


class Outgoing(NamedTuple):
    """What is sent in place of the caller's request.

    ``headers`` go over the caller's own, ``dropped`` ones are left out, and a ``body``
    of None leaves the caller's.
    """

    headers: Mapping[str, str] = {}
    dropped: Sequence[str] = ()
    body: bytes | None = None


class Exchange:
    """One attempt of one request in profile ``output``; made by ``Protection.begin``.

    The driver sends ``outgoing``; if ``is_clear`` it passes the response on. Otherwise
    it asks ``receive`` for the body, pushes all bytes into that until the first payload
    is there, and only then asks ``report``.
    """

    # Where to ask for a key document before ``outgoing``; None if it is not needed.
    document_path: str | None = None

    def __init__(
        self,
        *,
        is_clear: bool,
        settings: ClientSettings,
        accept: Callable[[Statement], None],
    ) -> None:
        self.is_clear = is_clear
        self._settings = settings
        self._accept = accept
        self._opener: Opener | None = None
        if not is_clear:
            self._key_pair = ClientKeyPair.generate()

    def outgoing(self, request: Request) -> Outgoing:
        """Return what to send in place of ``request``."""
        if self.is_clear:
            return Outgoing()
        headers = {
            self._settings.client_key_header: self._key_pair.header_value,
            "accept-encoding": "identity",
        }
        if self._settings.asks_opaque:
            headers["accept"] = OPAQUE_MEDIA_TYPE
        body = None
        if not request.has_digest:
            body = self.request_body(request.content_type, request.body)
        return Outgoing(headers, (), body)

    def take_document(self, status: int, body: bytes) -> None:
        """Take the answer to the request for a key document."""

    def may_learn(self, status: int) -> bool:
        """Tell whether the body of an answer with this status goes to ``learn``."""
        return False

    def learn(self, body: bytes) -> bool:
        """Tell whether an error's body is a reason to send once more."""
        return False

    def request_body(self, content_type: str, body: bytes) -> bytes | None:
        """Return the body with the client key as a member, or None to leave it.

        For what lies on the way and drops headers.
        """
        if _media_type(content_type) != "application/json":
            return None
        name = self._settings.client_key_member
        start = body.lstrip(_JSON_SPACE)
        if not start.startswith(b"{") or name.encode("ascii") in body:
            return None
        rest = start[1:].lstrip(_JSON_SPACE)
        comma = "" if rest.startswith(b"}") else ","
        member = f'{{"{name}":"{self._key_pair.header_value}"{comma}'
        return member.encode("ascii") + rest

    def receive(self, status: int, content_type: str) -> Body:
        """Judge the outer head and return the body to push the bytes into.

        Raises:
            RedirectRefusedError: the status is a redirect's.
            UnprotectedResponseError: it is neither a success nor an error.
        """
        if 300 <= status < 400:
            raise RedirectRefusedError(
                "The answer is a redirect, which a protected request never follows. "
                "Use the address that it leads to, if you trust it, as base URL."
            )
        if status < 200:
            raise UnprotectedResponseError("The answer has no final status.")
        media_type = _media_type(content_type)
        is_opaque = media_type == OPAQUE_MEDIA_TYPE
        wanted = is_opaque or self._settings.asks_opaque
        container = CONTAINER_OPAQUE if wanted else CONTAINER_FIELDS
        opener = self._opener_for(container)
        self._opener = opener
        if is_opaque:
            return OpaqueBody(opener)
        is_error = status >= 400
        if media_type != _EVENT_STREAM:
            return UnaryBody(opener, is_error=is_error)
        body_type = MislabelledBody if self._settings.asks_opaque else StreamBody
        return body_type(opener, is_error=is_error)

    def _opener_for(self, container: int) -> Opener:
        return Opener(
            self._key_pair,
            accept=self._accept,
            parameters=Parameters(container=container),
        )

    def report(self, status: int, headers: RawHeaders) -> Report:
        """Return what to show in place of the outer ``status`` and ``headers``."""
        shown = [
            (name, value)
            for name, value in headers
            if name.lower() not in _OUTER_HEADERS
        ]
        opener = self._opener
        if opener is None or opener.status is None or opener.statement is None:
            verdict = Verdict(Mark.UNAUTHENTICATED)
        else:
            verdict = Verdict.opened(opener.statement, opener)
            status = opener.status
            shown = [item for item in shown if item[0].lower() != b"content-type"]
            if opener.content_type:
                content_type = opener.content_type.encode("ascii")
                shown.append((b"content-type", content_type))
        shown.append((_MARK_HEADER_BYTES, verdict.mark.value.encode("ascii")))
        return Report(status, shown, verdict)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
