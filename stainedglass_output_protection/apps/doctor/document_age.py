"""Whether the key document that came by its path is a copy that something has kept."""

from __future__ import annotations

from typing import Final

from stainedglass_output_protection.apps.doctor.check_clock import clock_offset_s
from stainedglass_output_protection.apps.doctor.observations import (
    Observations,
    document_in,
)
from stainedglass_output_protection.apps.doctor.wire import Seen

# The clocks of replicas may differ by so much: then one shows the next epoch earlier.
_LEAST_LATE_MS: Final = 300_000


def is_kept_document(got: Seen, seen: Observations) -> bool:
    """Tell whether ``got``, which brought a document, is the answer of a cache.

    It says how old it is, or it is of an earlier epoch than the one that the server
    had begun well before, by a refusal, which no cache keeps.
    """
    if any(age.isdigit() and int(age) > 0 for age in got.values("age")):
        return True
    kept = document_in(got)
    if kept is None or kept.statement is None:
        return False
    asked_ms = got.at_ms + 1000 * (clock_offset_s(seen) or 0.0)
    newer = [
        it.statement.epoch
        for it in seen.documents
        if it.seen.method == "POST"
        and it.statement is not None
        and it.fingerprint == kept.fingerprint
    ]
    return any(
        kept.statement.epoch < epoch <= asked_ms - _LEAST_LATE_MS for epoch in newer
    )
