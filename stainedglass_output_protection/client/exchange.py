"""One attempt of one request and its answer, without I/O (``protocol.md#http``).

The drivers in ``transport.py`` send and read; every decision is made here, once for
sync and async and for every HTTP library.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from stainedglass_output_protection.client.bodies import Body, StreamBody, UnaryBody
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.client.verdict import MARK_HEADER, Mark, Verdict
from stainedglass_output_protection.errors import (
    RedirectRefusedError,
    UnprotectedResponseError,
    UsageError,
)
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.routes import (
    Route,
    RouteClass,
    classify_url,
)
from stainedglass_output_protection.protocol.statement import Statement
from stainedglass_output_protection.protocol.trust import StatementPolicy

Origin = tuple[str, str, "int | None"]
RawHeaders = Sequence[tuple[bytes, bytes]]

_EVENT_STREAM = "text/event-stream"
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


class Exchange:
    """Holds the key pair of one attempt; made by ``Protection.begin``, used once.

    The driver sends ``request_headers`` over the caller's own; if ``is_clear`` it
    passes the response on. Otherwise it asks ``receive`` for the body, pushes all
    bytes into that until the first payload is there, and only then asks ``report``.
    """

    def __init__(
        self,
        route: Route,
        *,
        client_key_header: str,
        accept: Callable[[Statement], None],
    ) -> None:
        self.is_clear = route.route_class is RouteClass.CLEAR
        self.request_headers: Mapping[str, str] = {}
        if not self.is_clear:
            key_pair = ClientKeyPair.generate()
            self._opener = Opener(key_pair, accept=accept)
            self.request_headers = {
                client_key_header: key_pair.header_value,
                "accept-encoding": "identity",
            }

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
        is_stream = content_type.split(";")[0].strip().lower() == _EVENT_STREAM
        body_type = StreamBody if is_stream else UnaryBody
        return body_type(self._opener, is_error=status >= 400)

    def report(self, status: int, headers: RawHeaders) -> Report:
        """Return what to show in place of the outer ``status`` and ``headers``."""
        shown = [
            (name, value)
            for name, value in headers
            if name.lower() not in _OUTER_HEADERS
        ]
        statement = self._opener.statement
        if self._opener.status is None or statement is None:
            verdict = Verdict(Mark.UNAUTHENTICATED)
        else:
            verdict = Verdict.opened(statement)
            status = self._opener.status
            shown = [item for item in shown if item[0].lower() != b"content-type"]
            if self._opener.content_type:
                content_type = self._opener.content_type.encode("ascii")
                shown.append((b"content-type", content_type))
        shown.append((_MARK_HEADER_BYTES, verdict.mark.value.encode("ascii")))
        return Report(status, shown, verdict)


class Protection:
    """What all transports of one client share: settings, trust and origin.

    Safe to share by threads. ``clock`` returns Unix seconds.
    """

    def __init__(
        self,
        settings: ClientSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings or ClientSettings()
        self._policy = StatementPolicy(self._settings.pins)
        self._clock = clock
        self._origin: Origin | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(cls, identity: str | Iterable[str] | None = None) -> Protection:
        """Return one with the environment's settings, ``identity`` going first.

        Raises:
            ConfigurationError: a setting is wrong.
        """
        return cls(ClientSettings.load(identity))

    def begin(self, method: str, origin: Origin, path: str) -> Exchange:
        """Return the exchange for one attempt, with a key pair of its own.

        Raises:
            UsageError: the request is for another origin than the first one was.
        """
        with self._lock:
            if self._origin is None:
                self._origin = origin
        if origin != self._origin:
            raise UsageError(
                "A protected client serves one origin only, that of its first "
                "request. Make another client for another server."
            )
        return Exchange(
            classify_url(method, path),
            client_key_header=self._settings.client_key_header,
            accept=self._accept,
        )

    def _accept(self, statement: Statement) -> None:
        self._policy.accept(statement, now_ms=int(self._clock() * 1000))
