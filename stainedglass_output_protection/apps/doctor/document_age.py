"""Whether the key document that came by its path is a copy that something has kept."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stainedglass_output_protection.apps.doctor.causes import CLOCK, causes_for
from stainedglass_output_protection.apps.doctor.check_clock import clock_offset_s
from stainedglass_output_protection.apps.doctor.observations import (
    Answer,
    Judged,
    Observations,
    document_in,
)
from stainedglass_output_protection.apps.doctor.wire import Seen
from stainedglass_output_protection.protocol.encoding import JSON_ERRORS

# The clocks of replicas may differ by so much: then one shows the next epoch earlier.
_LEAST_LATE_MS: Final = 300_000


class _Body(msgspec.Struct):
    document: str
    now: Any = None


def is_repeated(seen: Observations) -> bool:
    """Tell whether both answers were given at the same moment of the server's clock.

    They were asked for at different times, so the second is a copy of the first.
    """
    first, again = _body_of(seen.document), _body_of(seen.document_again)
    return first is not None and first == again and _now_ms(first) is not None


def is_kept_document(got: Seen, seen: Observations) -> bool:
    """Tell whether ``got``, which brought a document, is the answer of a cache.

    It says how old it is, or was given long before it was asked for, or it is of an
    earlier epoch than the one that the server had begun well before, by a refusal,
    which no cache keeps.
    """
    if any(age.isdigit() and int(age) > 0 for age in got.values("age")):
        return True
    if any(_is_old(it, got.at_ms, seen) for it in (seen.document, seen.document_again)):
        return True
    kept = document_in(got)
    return kept is not None and _is_of_an_earlier_epoch(kept, seen)


def _is_old(answer: Answer | None, began_ms: int, seen: Observations) -> bool:
    """Tell whether an answer was given well before the run began at ``began_ms``."""
    body = _body_of(answer)
    now_ms = None if body is None else _now_ms(body)
    offset_s = clock_offset_s(seen)
    if now_ms is None or offset_s is None:
        return False
    if causes_for(CLOCK, [*seen.seals, *seen.header_only], seen):
        return False  # The server's own clock is wrong, and so is what it says.
    # A gateway may write the date, by a clock that is ahead: both have to say so.
    asked_ms = began_ms + 1000 * min(offset_s, 0.0)
    return now_ms < asked_ms - _LEAST_LATE_MS


def _is_of_an_earlier_epoch(kept: Judged, seen: Observations) -> bool:
    if kept.statement is None:
        return False
    asked_ms = kept.seen.at_ms + 1000 * (clock_offset_s(seen) or 0.0)
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


def _body_of(answer: Answer | None) -> _Body | None:
    if answer is None or answer.last is None:
        return None
    try:
        return msgspec.json.decode(answer.last.body, type=_Body)
    except JSON_ERRORS:
        return None


def _now_ms(body: _Body) -> int | None:
    """Return when the server answered; None if it does not say so."""
    is_time = isinstance(body.now, int) and not isinstance(body.now, bool)
    return body.now if is_time and body.now > 0 else None
