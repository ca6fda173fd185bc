"""Checks of answers: their statuses, headers and bodies, as they came."""

from __future__ import annotations

from typing import Final

from stainedglass_output_protection.apps.doctor.causes import CACHING, causes_for
from stainedglass_output_protection.apps.doctor.check_sealed import (
    check_unary,
    why_not,
)
from stainedglass_output_protection.apps.doctor.findings import (
    Finding,
    Outcome,
    fault,
    not_tested,
    ok,
    warning,
)
from stainedglass_output_protection.apps.doctor.members import (
    changed_members,
    is_written_anew,
)
from stainedglass_output_protection.apps.doctor.observations import (
    Answer,
    Observations,
)
from stainedglass_output_protection.apps.doctor.words import listed
from stainedglass_output_protection.protocol.constants import DEFAULT_SERVER_KEY_HEADER
from stainedglass_output_protection.protocol.encoding import encode_base64

STATUSES, HEADERS = "statuses", "response-headers"
ANSWER_REWRITING, COMPRESSION = "answer-rewriting", "compression"
_REPEATED_BY_NATURE: Final = frozenset({"set-cookie", "via", "vary", "link", "warning"})
_NO_HARM = "Clients do without; nothing has to be done for protection."


def _opened(seen: Observations) -> list[Answer]:
    output = [it for it in (*seen.header_only, seen.member_only) if it is not None]
    return [it for it in (*seen.seals, *output) if it.is_opened and it.last]


def check_caching(seen: Observations) -> Finding:
    """Tell whether a cache answers, or may."""
    output = [it for it in (*seen.header_only, seen.member_only) if it is not None]
    is_replaced = len(output) == 3 and all(
        it.error == "ForeignResponseError" for it in output
    )
    in_output = [] if is_replaced else causes_for(CACHING, output, seen)
    sealed = causes_for(CACHING, seen.seals, seen)
    for cause in [*sealed, *in_output]:
        at_fault = fault if sealed or seen.profile == "output" else warning
        return at_fault(CACHING, cause.seen, cause.advice)
    opened = _opened(seen)
    if not opened:
        return not_tested(CACHING, why_not(seen))
    lost = [it for it in opened if not _forbids_storing(it)]
    if lost:
        return warning(
            CACHING,
            f"Answers arrive without cache-control: no-store ({len(lost)} of "
            f"{len(opened)}), so a cache behind that point may keep them.",
            "Have the gateway pass that header on. A cached answer opens for nobody "
            "else, but breaks requests.",
        )
    return ok(CACHING, "Answers forbid to be stored, and none came from a cache.")


def _forbids_storing(answer: Answer) -> bool:
    values = [] if answer.last is None else answer.last.values("cache-control")
    return any("no-store" in value for value in values)


def check_statuses(seen: Observations) -> Finding:
    """Tell whether error statuses arrive as the server gave them."""
    empty = seen.empty
    if empty is not None and empty.said.code == "key_unknown" and empty.status != 422:
        return warning(
            STATUSES,
            f"Status 422 of the server arrives as {empty.status}.",
            "Have the gateway pass statuses on: a client learns new keys by that one.",
        )
    mapped = [it for it in _opened(seen) if it.last and it.last.status != it.status]
    if mapped and mapped[0].last is not None:
        return warning(
            STATUSES,
            f"Status {mapped[0].status} of the server arrives as "
            f"{mapped[0].last.status}.",
            "Clients see the sealed one; what retries or counts by status is misled.",
        )
    is_rewritten = empty is not None and empty.said.code not in (None, "key_unknown")
    refused = seen.refused
    is_lost = refused is not None and not refused.is_opened
    if is_rewritten or (is_lost and check_unary(seen).outcome is Outcome.OK):
        return warning(
            STATUSES,
            "The words or codes of errors are written anew on the way.",
            "Clients show such errors, but cannot tell who has written them: have the "
            "gateway pass errors on as they are.",
        )
    if empty is None or empty.said.code != "key_unknown":
        return not_tested(
            STATUSES, "the refusal of an empty sealed request did not come"
        )
    return ok(STATUSES, "Errors arrive with the status that the server gave them.")


def check_response_headers(seen: Observations) -> Finding:
    """Tell whether headers of answers are kept, renamed, dropped or doubled."""
    opened = _opened(seen)
    if not opened:
        return not_tested(HEADERS, why_not(seen))
    said = []
    keys = _server_keys(seen)
    renamed = sorted({it for answer in opened for it in _renamed(answer)})
    if not all(_has_server_key(it, keys) for it in opened):
        said.append(f"{DEFAULT_SERVER_KEY_HEADER} dropped")
    if renamed:
        said.append(f"{DEFAULT_SERVER_KEY_HEADER} renamed to {listed(renamed)}")
    if doubled := sorted({it for answer in opened for it in _doubled(answer)}):
        said.append(f"{listed(doubled)} doubled")
    if any(_has_other_type(it) for it in opened):
        said.append("the content type of streams changed")
    if said:
        return warning(HEADERS, f"Headers: {'; '.join(said)}.", _NO_HARM)
    return ok(HEADERS, "Headers of answers arrive as the server sent them.")


def _headers(answer: Answer) -> list[tuple[str, str]]:
    return [] if answer.last is None else answer.last.headers


def _server_keys(seen: Observations) -> set[str]:
    """Return what the header of the server's key may hold, under whatever name."""
    statements = [it.statement for it in seen.documents if it.statement is not None]
    return {encode_base64(it.response_public_key).decode() for it in statements}


def _has_server_key(answer: Answer, keys: set[str]) -> bool:
    return any(
        name.endswith(DEFAULT_SERVER_KEY_HEADER) or value in keys
        for name, value in _headers(answer)
    )


def _renamed(answer: Answer) -> list[str]:
    """Return the names that are longer than ours; any other is the operator's choice."""
    names = [name for name, _ in _headers(answer)]
    ours = [it for it in names if it.endswith(DEFAULT_SERVER_KEY_HEADER)]
    return [] if DEFAULT_SERVER_KEY_HEADER in ours else ours


def _doubled(answer: Answer) -> set[str]:
    names = [name for name, _ in _headers(answer)]
    return {it for it in names if names.count(it) > 1} - _REPEATED_BY_NATURE


def _has_other_type(answer: Answer) -> bool:
    if answer.last is None or not answer.content_type.startswith("text/event-stream"):
        return False
    outer = next(iter(answer.last.values("content-type")), "")
    return (
        outer.replace(" ", "").lower() != answer.content_type.replace(" ", "").lower()
    )


def check_answer_rewriting(seen: Observations) -> Finding:
    """Tell whether whole answers keep their readable members and their form."""
    whole = [
        it
        for it in _opened(seen)
        if it.last and it.last.media_type == "application/json" and it.status < 400
    ]
    if not whole:
        return not_tested(ANSWER_REWRITING, "no whole answer of the model opened")
    said = []
    names = {
        name
        for it in whole
        if it.last
        for name in changed_members(it.last.body, it.body)
    }
    if names:
        said.append(
            f"Readable members are changed or dropped: {listed(sorted(names))}."
        )
    if any(it.last and is_written_anew(it.last.body) for it in whole):
        said.append("The JSON of answers is written anew.")
    if said:
        return warning(
            ANSWER_REWRITING,
            " ".join(said),
            "Clients read what was sealed; only what counts or bills on the way may be "
            "misled.",
        )
    return ok(ANSWER_REWRITING, "The bodies of answers arrive as they were sent.")


def check_compression(seen: Observations) -> Finding:
    """Tell whether answers are compressed though the client asks for no coding."""
    codings = {
        value
        for answer in seen.answers
        for item in answer.seen
        for value in item.values("content-encoding")
        if value.lower() != "identity"
    }
    if codings:
        return warning(
            COMPRESSION,
            f"Answers are compressed ({listed(sorted(codings))}) though no client asks "
            "for it.",
            "Switch it off on the way: sealed text does not shrink, and events may be held.",
        )
    if not _opened(seen):
        return not_tested(COMPRESSION, why_not(seen))
    return ok(COMPRESSION, "Answers are not compressed.")
