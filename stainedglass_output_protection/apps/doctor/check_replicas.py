"""The check of the servers behind one address."""

from __future__ import annotations

from stainedglass_output_protection.apps.doctor.causes import REPLICAS, causes_for
from stainedglass_output_protection.apps.doctor.findings import (
    Finding,
    fault,
    not_tested,
    ok,
    warning,
)
from stainedglass_output_protection.apps.doctor.observations import (
    Answer,
    Judged,
    Observations,
    document_in,
)


def check_replicas(seen: Observations) -> Finding:
    """Tell whether all servers behind the address share their keys."""
    if len({it.fingerprint for it in seen.documents}) > 1:
        return not_tested(REPLICAS, "see identity")
    causes = causes_for(REPLICAS, seen.seals, seen)
    if causes:
        # Answers in profile output open whichever server gives them.
        at_fault = fault if seen.profile == "sealed" else warning
        return at_fault(REPLICAS, causes[0].seen, causes[0].advice)
    opened = [it.verdict for it in seen.seals if it.is_opened and it.verdict]
    if not opened:
        return not_tested(REPLICAS, "no sealed request was answered")
    relearned = [it for it in seen.seals if _was_sent_to_a_stranger(it, seen)]
    if relearned:
        return warning(
            REPLICAS,
            f"{len(relearned)} of {len(seen.seals)} requests had to be sealed again for "
            "another server: the servers behind this address do not share their keys.",
            "Give all of them the same SG_IDENTITY_KEY_FILE and SG_FLEET_SECRET_FILE.",
        )
    keys = len({it.key_id for it in opened})
    epochs = "epoch" if keys == 1 else "epochs"
    return ok(
        REPLICAS,
        f"{len(opened)} sealed requests, by a connection each, met a server with the "
        f"key at the first try; {keys} {epochs}, 1 identity.",
    )


def _was_sent_to_a_stranger(answer: Answer, seen: Observations) -> bool:
    """Tell whether a request was sealed again though its key had not retired."""
    for item in answer.seen:
        fresh = document_in(item) if item.method == "POST" else None
        if fresh is None:
            continue
        earlier = [it for it in seen.documents if it.seen.asked_s < item.asked_s]
        earlier = [it for it in earlier if it.fingerprint == fresh.fingerprint]
        if any(_is_live(it, item.at_ms) for it in earlier):
            return not _same_key(earlier[-1], fresh)
    return False


def _is_live(document: Judged, at_ms: int) -> bool:
    return document.error is None and at_ms < document.retires_at


def _same_key(one: Judged, other: Judged) -> bool:
    return (
        one.statement is not None
        and other.statement is not None
        and one.statement.key_id == other.statement.key_id
    )
