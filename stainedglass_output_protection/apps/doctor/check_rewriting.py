"""The check of what becomes of requests on the way."""

from __future__ import annotations

from typing import Final

from stainedglass_output_protection.apps.doctor.causes import (
    REWRITING,
    Cause,
    causes_for,
)
from stainedglass_output_protection.apps.doctor.check_sealed import why_not
from stainedglass_output_protection.apps.doctor.echoes import echo_of
from stainedglass_output_protection.apps.doctor.findings import (
    Finding,
    fault,
    not_tested,
    ok,
    warning,
)
from stainedglass_output_protection.apps.doctor.members import prompt_tokens_of
from stainedglass_output_protection.apps.doctor.observations import (
    Answer,
    Observations,
)
from stainedglass_output_protection.apps.doctor.request_forms import without_messages

_STREAM: Final = Cause(
    REWRITING,
    "The member stream is changed on the way.",
    "Have the gateway pass it on: look for a setting that switches streams off.",
)


def check_rewriting(seen: Observations) -> Finding:
    """Tell whether requests arrive as they were sent."""
    causes = causes_for(REWRITING, seen.seals, seen)
    if causes:
        at_fault = fault if seen.profile == "sealed" else warning
        cause = _STREAM if _is_stream_alone(seen) else causes[0]
        return at_fault(REWRITING, cause.seen, cause.advice)
    sealed = _prompt_tokens([it.answer for it in seen.sealed])
    clear = _prompt_tokens(seen.header_only)
    if sealed and clear and sealed != clear:
        return warning(
            REWRITING,
            f"The prompt of requests that are not sealed is changed on the way: "
            f"{min(clear)} tokens arrive, of {min(sealed)} that were sent.",
            "Use profile sealed, which nothing on the way can do this to.",
        )
    if said := _what_is_changed_in_clear(seen):
        return warning(
            REWRITING,
            f"In requests that are not sealed, {said}.",
            "Sealed requests are not touched. For profile output, have the gateway "
            "pass bodies on as they are: the model may be asked something else.",
        )
    if not any(it.answer.is_opened for it in seen.sealed):
        return not_tested(REWRITING, why_not(seen))
    also = ""
    if _is_written_anew(seen):
        also = " The JSON around them is written anew, which does no harm."
    return ok(
        REWRITING, f"Method, URL, model and stream arrive as they were sent.{also}"
    )


def _what_is_changed_in_clear(seen: Observations) -> str:
    answer = seen.echoed
    if answer is None or not answer.is_opened:
        return ""
    echo = echo_of(answer.said.message, without_messages(seen.model or ""))
    if echo is None:
        return ""
    said = {
        "members are added": echo.has_more,
        "members are dropped": echo.has_fewer,
        "large integers, such as a seed, arrive as other numbers": (
            echo.has_other_number
        ),
    }
    return " and ".join(it for it, is_so in said.items() if is_so)


def _is_written_anew(seen: Observations) -> bool:
    answer = seen.escaped
    return answer is not None and answer.said.code == "sealed_request_malformed"


def _prompt_tokens(answers: list[Answer]) -> set[int]:
    counts = [prompt_tokens_of(it) for it in answers]
    return {it for it in counts if it is not None}


def _is_stream_alone(seen: Observations) -> bool:
    """Tell whether streams are refused for a mismatch, and whole answers are not."""
    mismatch = "sealed_request_mismatch"
    whole = [it.answer.said.code for it in seen.sealed if not it.is_stream]
    streams = [it.answer.said.code for it in seen.sealed if it.is_stream]
    return set(streams) == {mismatch} and set(whole) != {mismatch}
