"""Checks of how a clear client key travels: what profile ``output`` is for."""

from __future__ import annotations

from typing import Final

from stainedglass_output_protection.apps.doctor.causes import (
    OWN,
    Cause,
    cause_of,
    causes_for,
)
from stainedglass_output_protection.apps.doctor.check_sealed import UNARY, why_not
from stainedglass_output_protection.apps.doctor.findings import (
    Finding,
    fault,
    not_tested,
    ok,
    warning,
)
from stainedglass_output_protection.apps.doctor.observations import (
    Answer,
    Observations,
)

HEADER: Final = "client-key-header"
MEMBER: Final = "client-key-member"
REPLACED: Final = "is replaced by another one on the way."


def check_header(seen: Observations) -> Finding:
    """Tell whether a client key in the header arrives (profile ``output``)."""
    answer = seen.header_only[0] if seen.header_only else None
    return _check_key(HEADER, "the header", answer, seen)


def check_member(seen: Observations) -> Finding:
    """Tell whether a client key in the body arrives (profile ``output``)."""
    return _check_key(MEMBER, "the body", seen.member_only, seen)


def _check_key(
    name: str, where: str, answer: Answer | None, seen: Observations
) -> Finding:
    if answer is None:
        return not_tested(name, why_not(seen))
    both = [*seen.header_only[:1], seen.member_only]
    other = seen.member_only if name == HEADER else seen.header_only[0]
    at_fault = warning
    if seen.profile == "output" and not (other is not None and other.is_opened):
        at_fault = fault
    code = answer.said.code
    if code == "client_key_missing":
        return at_fault(
            name,
            f"A client key in {where} does not arrive.",
            "Profile sealed needs none. For profile output, have the gateway pass on "
            "x-client-public-key, or the body's member sg_client_public_key.",
        )
    if code == "client_key_duplicated":
        said = f"A client key in {where} arrives more than once."
        return at_fault(
            name,
            said,
            "Profile sealed needs none. For profile output, have the gateway pass each "
            "header on once.",
        )
    if all(it is not None and it.error == "ForeignResponseError" for it in both):
        return at_fault(
            name,
            f"A client key in {where} {REPLACED}",
            "Stop using profile output here: somebody else reads these answers.",
        )
    if code == "sealed_request_required":
        return not_tested(name, "this server takes sealed requests only")
    cause = cause_of(answer, seen)
    if cause is None:
        said = f"A client key in {where} arrives, and the answer opens."
        if name == HEADER and _loses_repeated(seen):
            said += " Of two such headers one arrives, which does no harm."
        return ok(name, said)
    if cause.check != OWN:
        return not_tested(name, f"see {cause.check}")
    if seen.profile == "sealed" and cause in _causes_of_unary(seen):
        return not_tested(name, f"see {UNARY}")
    return at_fault(name, cause.seen, cause.advice)


def _loses_repeated(seen: Observations) -> bool:
    """Tell whether a request with two key headers was not refused for that."""
    return seen.repeated is not None and seen.repeated.said.code == "key_unknown"


def _causes_of_unary(seen: Observations) -> list[Cause]:
    unary = [it.answer for it in seen.sealed if not it.is_stream]
    return causes_for(OWN, unary, seen)
