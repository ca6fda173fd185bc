"""One request, watched from its arrival to its end: one log line, and an observer told.

No word that a client chose is in either: ids and outcomes are ours, routes the table's.
"""

from __future__ import annotations

import logging
import secrets
import time
from types import TracebackType
from typing import Final, Protocol

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Send

from stainedglass_output_protection.server.draining import PROCESS
from stainedglass_output_protection.server.observer import Finished, Telling
from stainedglass_output_protection.server.outcomes import (
    CLEAR,
    CUT,
    DISCARDED,
    FAILED,
    REFUSED,
    SEALED,
)

# A name of its own, so that an operator can silence these lines and no other.
REQUEST_LOGGER: Final = "stainedglass_output_protection.requests"
_FIRST_FAILURE = 500

logger = logging.getLogger(REQUEST_LOGGER)


class Answer(Protocol):
    """What is known of an answer when its request has ended.

    ``is_whole`` says that the application ended it itself, ``has_failed`` that it did
    not though somebody was there to read it.
    """

    @property
    def status(self) -> int: ...
    @property
    def is_stream(self) -> bool: ...
    @property
    def is_whole(self) -> bool: ...
    @property
    def has_failed(self) -> bool: ...
    @property
    def bytes_sent(self) -> int: ...
    @property
    def seal_s(self) -> float | None: ...
    @property
    def key_id(self) -> str: ...
    @property
    def profile(self) -> str: ...


class _ClearAnswer:
    """An answer that is not sealed: a refusal, or what an operator allows.

    ``is_gone`` says that its client has left.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.is_stream = False
        self.is_whole = False
        self.has_failed = False
        self.is_gone = False
        self.bytes_sent = 0
        self.seal_s: float | None = None
        self.key_id = ""
        self.profile = ""

    async def send(self, message: Message) -> None:
        """Hand on a message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.is_stream = any(
                name.lower() == b"content-type"
                and value.lower().startswith(b"text/event-stream")
                for name, value in message.get("headers", ())
            )
        elif message["type"] == "http.response.body":
            self.bytes_sent += len(message.get("body", b""))
            # Without a client it has no end, as if it were sealed.
            self.is_whole = not (message.get("more_body", False) or self.is_gone)
        elif message["type"] == "http.response.pathsend":
            self.is_whole = not self.is_gone  # A file, which the server sends.
        await self._send(message)


class Observation:
    """A context manager around one request. ``route`` is its row in the table.

    What is not sealed goes through its own ``send``. The caller says what it learns:
    ``code`` of a refusal, ``is_keyless``, and with ``watch`` what seals the answer.
    """

    def __init__(self, observer: Telling, route: str, send: Send) -> None:
        # Unguessable and ours: clients choose X-Request-Id, routers repeat it.
        self.request_id = secrets.token_hex(16)
        self.code = ""
        self.is_keyless = False
        self._observer = observer
        self._draining = PROCESS.draining
        self._runs = False
        self._route = route
        self._bytes_in = 0
        clear = _ClearAnswer(send)
        self.send: Send = clear.send
        self._clear = clear
        self._answer: Answer = clear
        self._began = time.perf_counter()

    def __enter__(self) -> Observation:
        self._observer.request_began()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runs:
            self._draining.request_ended()
        # What is cancelled has neither raised nor returned.
        has_raised = kind is not None and issubclass(kind, Exception)
        finished = self._finished(has_raised=has_raised, has_returned=kind is None)
        if logger.isEnabledFor(logging.INFO):
            _log(finished)
        self._observer.request_ended(finished)

    def runs(self) -> bool:
        """Have a process that stops wait for the request; false if it stops already."""
        self._runs = self._draining.request_began()
        return self._runs

    def watch(self, answer: Answer) -> None:
        """Take this for the answer, instead of what goes through ``send``."""
        self._answer = answer

    def receiving(self, receive: Receive) -> Receive:
        """Return ``receive``, with the size of the request and its client watched."""

        async def counted() -> Message:
            try:
                message = await receive()
            except ClientDisconnect:
                self._clear.is_gone = True
                raise
            if message["type"] == "http.disconnect":
                self._clear.is_gone = True
            self._bytes_in += len(message.get("body", b""))
            return message

        return counted

    def _finished(self, *, has_raised: bool, has_returned: bool) -> Finished:
        answer = self._answer
        return Finished(
            request_id=self.request_id,
            route=self._route,
            status=answer.status,
            outcome=self._outcome(has_raised=has_raised, has_returned=has_returned),
            code=self.code,
            profile=answer.profile,
            key_id=answer.key_id,
            is_stream=answer.is_stream,
            bytes_in=self._bytes_in,
            bytes_out=answer.bytes_sent,
            seconds=time.perf_counter() - self._began,
            seal_s=answer.seal_s,
        )

    def _outcome(self, *, has_raised: bool, has_returned: bool) -> str:
        answer = self._answer
        if self.code:
            return REFUSED
        stops_short = has_returned and not answer.is_whole
        has_failed = has_raised or answer.has_failed or stops_short
        # What ends because nobody is there has not failed.
        if answer.status >= _FIRST_FAILURE or (has_failed and not self._clear.is_gone):
            return FAILED
        if not answer.is_whole:
            return CUT
        if self.is_keyless:
            return DISCARDED if answer.profile else CLEAR
        return SEALED


def _log(request: Finished) -> None:
    logger.info(
        "request id=%s route=%s status=%s outcome=%s code=%s profile=%s key=%s "
        "stream=%s bytes_in=%d bytes_out=%d seconds=%.3f",
        request.request_id,
        request.route,
        request.status or "-",
        request.outcome,
        request.code or "-",
        request.profile or "-",
        request.key_id or "-",
        "true" if request.is_stream else "false",
        request.bytes_in,
        request.bytes_out,
        request.seconds,
    )
