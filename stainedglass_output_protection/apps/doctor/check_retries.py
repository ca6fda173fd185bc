"""The check of requests that are sent again after an error of the server."""

from __future__ import annotations

from typing import Final

from stainedglass_output_protection.apps.doctor.causes import (
    REPLAY,
    cause_of,
    causes_for,
)
from stainedglass_output_protection.apps.doctor.check_sealed import why_not
from stainedglass_output_protection.apps.doctor.findings import (
    Finding,
    not_tested,
    ok,
    warning,
)
from stainedglass_output_protection.apps.doctor.observations import Observations

RETRIES: Final = "retries"


def check_retries(seen: Observations) -> Finding:
    """Tell whether anything on the way sends a request again after a 5xx.

    The server answers the request for an error with 503 when it comes first, and says
    so when it comes again.
    """
    if not seen.provokes_error:
        return not_tested(
            RETRIES,
            "only with --provoke-error, which has the server answer one request with a "
            "503",
        )
    if causes_for(REPLAY, seen.seals, seen):
        return not_tested(RETRIES, "see replay")
    answer = seen.provoked
    if answer is None:
        return not_tested(RETRIES, why_not(seen))
    code = answer.said.code if answer.is_opened else None
    if code == "request_replayed":
        return warning(
            RETRIES,
            "A request that the server answered with a 503 was sent again on the way.",
            "Nothing has to be done for protection: the server takes a sealed request "
            "again after a 5xx only, so nothing is answered twice. Programs that try "
            "again themselves wait longer for an error.",
        )
    if code == "error_provoked":
        return ok(
            RETRIES, "The one request that was answered with a 503 came there once."
        )
    cause = cause_of(answer, seen)
    if cause is not None:
        lost = "the error that was asked for did not arrive"
        return not_tested(RETRIES, f"see {cause.check}" if cause.check else lost)
    return not_tested(
        RETRIES,
        "the server gave no error when asked for one: it has given one within the last "
        "minute, or is too old to know the question",
    )
