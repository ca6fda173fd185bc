"""Checks of requests: what is removed, repeated or let through."""

from __future__ import annotations

from stainedglass_output_protection.apps.doctor.causes import (
    AUTHORIZATION,
    REPLAY,
    causes_for,
)
from stainedglass_output_protection.apps.doctor.check_sealed import why_not
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
from stainedglass_output_protection.apps.doctor.refusals import (
    is_clear_answer,
    is_our_refusal,
    is_sealed,
)

UNPROTECTED = "unprotected-requests"


def check_unprotected(seen: Observations) -> Finding:
    """Tell whether a request without a key is ever answered in clear."""
    clear = [path for path, it in seen.keyless.items() if is_clear_answer(it)]
    if clear:
        return fault(
            UNPROTECTED,
            f"Requests without a key are answered in clear: {', '.join(clear)}.",
            "Ask the operator to refuse them (SG_KEYLESS_REQUESTS=required), and look "
            "for something on the way that answers itself.",
        )
    if not seen.keyless or not is_ours(seen):
        return not_tested(UNPROTECTED, why_not(seen))
    refused = [path for path, it in seen.keyless.items() if _is_refusal(it)]
    sealed = [path for path, it in seen.keyless.items() if is_sealed(it)]
    if sealed:
        return ok(UNPROTECTED, "Requests without a key get what nobody can read.")
    if refused:
        return ok(
            UNPROTECTED,
            f"Requests without a key are refused on {len(refused)} of "
            f"{len(seen.keyless)} routes, and answered in clear on none.",
        )
    return not_tested(UNPROTECTED, "no request without a key reached the server")


def _is_refusal(answer: Answer) -> bool:
    """Tell whether it is a refusal of the server's, though its words may be others."""
    return is_our_refusal(answer) or answer.status == 400


def check_authorization(seen: Observations) -> Finding:
    """Tell whether the API key arrives."""
    causes = causes_for(AUTHORIZATION, [*seen.seals, *seen.header_only], seen)
    models = seen.models
    if causes or (models is not None and models.status in (401, 403)):
        advice = (
            "Check the API key. If it is right, look for a gateway that removes the "
            "header Authorization."
        )
        return fault(
            AUTHORIZATION, "The API key is refused, or does not arrive.", advice
        )
    if not seen.has_api_key:
        return not_tested(AUTHORIZATION, "no API key was given")
    without = seen.models_without_key
    if without is None or without.status not in (401, 403):
        return not_tested(AUTHORIZATION, "the server asks for no API key")
    return ok(AUTHORIZATION, "The API key arrives, and is needed.")


def check_replay(seen: Observations) -> Finding:
    """Tell whether anything on the way sends a request again."""
    causes = causes_for(REPLAY, seen.seals, seen)
    if causes:
        at_fault = fault if seen.profile == "sealed" else warning
        return at_fault(REPLAY, causes[0].seen, causes[0].advice)
    if not any(it.is_opened for it in seen.seals):
        return not_tested(REPLAY, why_not(seen))
    return ok(REPLAY, "No answer says that its request had come before.")
