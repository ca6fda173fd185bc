"""All checks, in the order of the table, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stainedglass_output_protection.apps.doctor.causes import IDENTITY
from stainedglass_output_protection.apps.doctor.check_answers import (
    check_answer_rewriting,
    check_caching,
    check_compression,
    check_response_headers,
    check_statuses,
)
from stainedglass_output_protection.apps.doctor.check_carriage import (
    HEADER,
    MEMBER,
    REPLACED,
    check_header,
    check_member,
)
from stainedglass_output_protection.apps.doctor.check_clock import check_clock
from stainedglass_output_protection.apps.doctor.check_path_probe import (
    check_comments,
    check_repeated_headers,
)
from stainedglass_output_protection.apps.doctor.check_replicas import check_replicas
from stainedglass_output_protection.apps.doctor.check_requests import (
    UNPROTECTED,
    check_authorization,
    check_replay,
    check_unprotected,
)
from stainedglass_output_protection.apps.doctor.check_retries import check_retries
from stainedglass_output_protection.apps.doctor.check_rewriting import check_rewriting
from stainedglass_output_protection.apps.doctor.check_sealed import (
    STREAM,
    UNARY,
    check_stream,
    check_unary,
)
from stainedglass_output_protection.apps.doctor.check_server import (
    check_document,
    check_identity,
    check_server,
)
from stainedglass_output_protection.apps.doctor.check_streams import (
    check_event_lines,
    check_events,
    check_timing,
)
from stainedglass_output_protection.apps.doctor.findings import Finding, Outcome
from stainedglass_output_protection.apps.doctor.observations import Observations

_CHECKS: Final[tuple[Callable[[Observations], Finding], ...]] = (
    check_server,
    check_document,
    check_identity,
    check_clock,
    check_unprotected,
    check_unary,
    check_stream,
    check_header,
    check_member,
    check_rewriting,
    check_authorization,
    check_replay,
    check_retries,
    check_replicas,
    check_caching,
    check_statuses,
    check_response_headers,
    check_repeated_headers,
    check_answer_rewriting,
    check_events,
    check_event_lines,
    check_comments,
    check_timing,
    check_compression,
)
# Of each set, one check has to be well.
_PROOFS: Final = {
    "sealed": ({IDENTITY}, {UNARY}, {STREAM}),
    "output": ({HEADER, MEMBER},),
}
_EXPOSING: Final = {IDENTITY, UNPROTECTED}


def findings_of(seen: Observations) -> list[Finding]:
    """Return one row for each check."""
    return [check(seen) for check in _CHECKS]


def holds(findings: list[Finding], profile: str) -> bool:
    """Tell whether protection holds in ``profile``: no fault, and it was seen to work."""
    good = {it.name for it in findings if it.outcome is Outcome.OK}
    has_fault = any(it.outcome is Outcome.FAULT for it in findings)
    return not has_fault and all(names & good for names in _PROOFS[profile])


def summary_of(findings: list[Finding], profile: str) -> str:
    """Return the verdict in one sentence, with what to do first."""
    if holds(findings, profile):
        count = sum(it.outcome is Outcome.WARNING for it in findings)
        few = {0: "", 1: " There is 1 warning."}
        also = few.get(count, f" There are {count} warnings.")
        return f"Protection holds in profile {profile}.{also}"
    faults = [it for it in findings if it.outcome is Outcome.FAULT]
    if faults:
        said = f"{faults[0].seen} {faults[0].advice}"
        if not any(map(_exposes, faults)):
            return f"Profile {profile} does not work here: {said}"
        return f"Protection does not hold in profile {profile}: {said}"
    good = {it.name for it in findings if it.outcome is Outcome.OK}
    unproved = set().union(*(names for names in _PROOFS[profile] if not names & good))
    missing = next(it for it in findings if it.name in unproved)
    said = f"{missing.seen} {missing.advice}".rstrip()
    return f"It was not shown that protection holds in profile {profile}. {said}"


def _exposes(found: Finding) -> bool:
    """Tell whether by this fault somebody else may read; by others requests just fail."""
    return found.name in _EXPOSING or found.seen.endswith(REPLACED)
