"""What an answer to an unsealed probe is: our refusal, an answer in clear, or neither."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stainedglass_output_protection.apps.doctor.observations import Answer
from stainedglass_output_protection.errors import ResponseError
from stainedglass_output_protection.protocol.encoding import JSON_ERRORS
from stainedglass_output_protection.protocol.fields_reader import find_frame

_OUR_CODES: Final = frozenset(
    {
        "client_key_missing",
        "client_key_duplicated",
        "client_key_malformed",
        "sealed_request_malformed",
        "sealed_request_required",
        "route_not_protected",
        "stored_response_refused",
        "request_too_large",
        "key_unknown",
        "keys_unavailable",
    }
)
# One of these is in every answer of the routes that are asked.
_MEMBERS: Final = frozenset(
    {"choices", "content", "output", "embedding", "data", "tokens"}
)


def is_our_refusal(answer: Answer | None) -> bool:
    """Tell whether a server of ours has refused, whatever became of the status."""
    return answer is not None and answer.said.code in _OUR_CODES


def is_sealed(answer: Answer) -> bool:
    """Tell whether the answer is sealed, for whomever."""
    try:
        return find_frame(answer.body) is not None
    except ResponseError:
        return True


def is_clear_answer(answer: Answer | None) -> bool:
    """Tell whether a model's answer came in clear."""
    if answer is None or not 200 <= answer.status < 300 or is_sealed(answer):
        return False
    try:
        body: Any = msgspec.json.decode(answer.body)
    except JSON_ERRORS:
        return False
    return isinstance(body, dict) and bool(_MEMBERS & body.keys())
