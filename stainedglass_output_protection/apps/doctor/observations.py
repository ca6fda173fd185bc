"""What one run has seen. The probes fill it in, the checks read it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

import msgspec

from stainedglass_output_protection.apps.doctor.wire import Error, Seen, error_in
from stainedglass_output_protection.client.verdict import Mark, Verdict
from stainedglass_output_protection.errors import (
    ResponseError,
    StatementExpiredError,
)
from stainedglass_output_protection.protocol.constants import DOCUMENT_PREFIX
from stainedglass_output_protection.protocol.encoding import JSON_ERRORS
from stainedglass_output_protection.protocol.identity import fingerprint_of
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.statement import Statement
from stainedglass_output_protection.protocol.trust import StatementPolicy


@dataclass
class Answer:
    """One probe: what passed on the wire, and what a protected client made of it.

    ``error`` is the name of the error that the client raised; ``failure`` is a sentence
    on why no whole HTTP answer came. ``status``, ``content_type`` and ``body`` are what
    the caller saw.
    """

    seen: list[Seen] = field(default_factory=list)
    status: int = 0
    body: bytes = b""
    content_type: str = ""
    verdict: Verdict | None = None
    error: str | None = None
    failure: str | None = None

    @property
    def is_opened(self) -> bool:
        """Whether the answer was sealed, and opened to its end."""
        is_whole = self.error is None and self.failure is None
        opened = self.verdict is not None and self.verdict.mark is Mark.OPENED
        return is_whole and opened

    @property
    def last(self) -> Seen | None:
        """The last exchange on the wire."""
        return self.seen[-1] if self.seen else None

    @property
    def said(self) -> Error:
        """The error in the body that the caller saw."""
        return error_in(self.body)


@dataclass
class SealedProbe:
    """A sealed request to the chat route."""

    suite: str
    is_stream: bool
    is_long: bool
    answer: Answer


@dataclass(frozen=True)
class Judged:
    """A key document that came, in any way. ``error`` is why a client would refuse it."""

    seen: Seen
    statement: Statement | None = None
    retires_at: int = 0
    error: str | None = None

    @property
    def fingerprint(self) -> str:
        """The identity's, which is proved if there is no error; or nothing."""
        return "" if self.statement is None else fingerprint_of(self.statement.identity)


def judged(seen: Seen, text: str) -> Judged:
    """Judge a document by everything but who has signed it."""
    return Judged(seen, *_judged(text, seen.at_ms))


# Many checks ask for the same few documents.
@functools.lru_cache(maxsize=64)
def _judged(text: str, at_ms: int) -> tuple[Statement | None, int, str | None]:
    try:
        document = KeyDocument.from_text(text)
    except ResponseError as error:
        return None, 0, type(error).__name__
    statement, failed = document.statement, None
    try:
        StatementPolicy().accept(statement, now_ms=at_ms)
    except StatementExpiredError as error:
        failed = type(error).__name__
    except ResponseError as error:
        return None, 0, type(error).__name__
    return statement, document.retires_at, failed


def document_in(seen: Seen) -> Judged | None:
    """Return the key document of an exchange, if it brought one."""
    text = _text_in(seen)
    return judged(seen, text) if text.startswith(DOCUMENT_PREFIX) else None


def _text_in(seen: Seen) -> str:
    if seen.method != "GET":
        found = _DOCUMENT.search(str(seen.error.message))
        return found[0] if found else ""
    try:
        return msgspec.json.decode(seen.body, type=_DocumentBody).document
    except JSON_ERRORS:
        return ""


# Some gateways put words of their own around the message of an error.
_DOCUMENT = re.compile(re.escape(DOCUMENT_PREFIX) + r"[A-Za-z0-9+/]+=*")


class _DocumentBody(msgspec.Struct):
    document: str


@dataclass
class Observations:
    """All of it; what was not reached is None or empty."""

    url: str
    profile: str
    pins: frozenset[str] | None = None
    known: frozenset[str] = frozenset()
    has_api_key: bool = False
    provokes_error: bool = False
    model: str | None = None
    document: Answer | None = None
    document_again: Answer | None = None
    models: Answer | None = None
    models_without_key: Answer | None = None
    empty: Answer | None = None
    repeated: Answer | None = None
    escaped: Answer | None = None
    echoed: Answer | None = None
    keyless: dict[str, Answer] = field(default_factory=dict)
    header_only: list[Answer] = field(default_factory=list)
    member_only: Answer | None = None
    sealed: list[SealedProbe] = field(default_factory=list)
    refused: Answer | None = None
    named_events: Answer | None = None
    path_probe: Answer | None = None
    provoked: Answer | None = None
    # Why the run ended early, if it did.
    ended: str | None = None

    @property
    def answers(self) -> list[Answer]:
        """Every probe, in the order of asking."""
        documents = (self.document, self.document_again)
        singles = (self.models, self.models_without_key, self.empty)
        forms = (self.repeated, self.escaped, self.echoed)
        last = (self.member_only, self.refused, self.named_events)
        shown = (self.path_probe, self.provoked)
        found = [*documents, *singles, *forms, *last, *shown]
        found += [*self.keyless.values(), *self.header_only]
        found += [probe.answer for probe in self.sealed]
        return [answer for answer in found if answer is not None]

    @property
    def seals(self) -> list[Answer]:
        """The answers to sealed requests, but for routes that do not lead to the server."""
        extra = [it for it in (self.refused, self.named_events) if it is not None]
        arrived = [it for it in extra if it.error or it.is_opened]
        return [*(probe.answer for probe in self.sealed), *arrived]

    @property
    def documents(self) -> list[Judged]:
        """Every key document that came, in the order of their coming."""
        seen = [item for answer in self.answers for item in answer.seen]
        found = [document_in(item) for item in sorted(seen, key=lambda it: it.asked_s)]
        return [item for item in found if item is not None]

    @property
    def identity(self) -> str:
        """The fingerprint of whoever signed the first acceptable document, or nothing."""
        good = (it.fingerprint for it in self.documents if it.error is None)
        return next(good, "")

    def trusts(self, fingerprint: str) -> bool:
        """Tell whether this user's client would take an identity for the right one."""
        if self.pins is not None:
            return fingerprint in self.pins
        return not self.known or fingerprint in self.known
