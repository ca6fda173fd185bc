"""Checks of what profile ``sealed`` is for: sealed requests whose answers open."""

from __future__ import annotations

from typing import Final

from stainedglass_output_protection.apps.doctor.causes import (
    OWN,
    Cause,
    cause_of,
    causes_for,
)
from stainedglass_output_protection.apps.doctor.check_server import is_ours
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

UNARY: Final = "sealed-unary"
STREAM: Final = "sealed-stream"
_NO_MODEL: Final = "no model is known: give --model"
_FIRST_FAILURE: Final = 500


def why_not(seen: Observations) -> str:
    """Return why there are no sealed probes."""
    if seen.ended:
        return seen.ended
    if not is_ours(seen):
        return "no server with output protection answers"
    if seen.sealed:
        return "no answer to a sealed request opened"
    if seen.model is not None:
        return "no usable key document came"
    status = seen.models.status if seen.models is not None else 0
    if status >= _FIRST_FAILURE:
        return (
            f"the server answers /v1/models with status {status}, so what runs behind "
            "it may be down: ask its operator, or give --model"
        )
    return _NO_MODEL


def check_unary(seen: Observations) -> Finding:
    """Tell whether whole answers to sealed requests open."""
    answers = [it.answer for it in seen.sealed if not it.is_stream]
    return _check_sealed(UNARY, answers, [], seen)


def check_stream(seen: Observations) -> Finding:
    """Tell whether streams that answer sealed requests open to their end."""
    answers = [it.answer for it in seen.sealed if it.is_stream]
    extra = [it for it in (seen.named_events,) if it is not None and it.error]
    return _check_sealed(STREAM, answers, extra, seen)


def _check_sealed(
    name: str, answers: list[Answer], extra: list[Answer], seen: Observations
) -> Finding:
    if not answers:
        return not_tested(name, why_not(seen))
    own = causes_for(OWN, [*answers, *extra], seen)
    if own:
        first = _content_type_cause(name, answers) or own[0]
        at_fault = fault if seen.profile == "sealed" else warning
        return at_fault(name, first.seen, first.advice)
    opened = [it for it in answers if it.is_opened and cause_of(it, seen) is None]
    if not opened:
        causes = [cause_of(it, seen) for it in answers]
        return not_tested(name, f"see {next(it.check for it in causes if it)}")
    said = [it for it in opened if it.status < 400]
    if not said:
        status = opened[0].status
        why = f"the server answers the model's name with status {status}: check --model"
        return not_tested(name, why)
    suites = {it.suite for it in seen.sealed if it.answer in opened}
    both = " and ".join(sorted(suites))
    return ok(name, f"{len(opened)} of {len(answers)} opened, in {both}.")


def _content_type_cause(name: str, answers: list[Answer]) -> Cause | None:
    """Return what the content type tells about answers that did not open."""
    kinds = {it.last.media_type for it in answers if it.error and it.last}
    said = None
    if "" in kinds:
        said = "Answers arrive without their content type."
    elif name == UNARY and "text/event-stream" in kinds:
        said = "Whole answers are called streams."
    elif name == STREAM and "application/json" in kinds:
        said = "Streams are gathered to one answer, which damages them."
    advice = "Have the gateway pass answers on with their content type, as they are."
    return None if said is None else Cause(OWN, said, advice)
