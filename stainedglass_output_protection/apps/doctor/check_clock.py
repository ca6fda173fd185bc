"""The check of both clocks."""

from __future__ import annotations

import email.utils
from typing import Final

from stainedglass_output_protection.apps.doctor.causes import CLOCK, causes_for
from stainedglass_output_protection.apps.doctor.findings import (
    Finding,
    fault,
    not_tested,
    ok,
    warning,
)
from stainedglass_output_protection.apps.doctor.observations import Observations

# A client may be ahead by so much; a proxy's own date is a second or two old.
_MOST_AHEAD_S: Final = 60
_COMFORTABLE_S: Final = 30


def check_clock(seen: Observations) -> Finding:
    """Tell how far this machine's clock is from the server's."""
    offset = clock_offset_s(seen)
    shown = _shown(offset)
    causes = causes_for(CLOCK, [*seen.seals, *seen.header_only], seen)
    expired = [it for it in seen.documents if it.error == "StatementExpiredError"]
    if expired:
        is_ours_wrong = offset is not None and abs(offset) > _MOST_AHEAD_S
        return fault(
            CLOCK,
            f"The server's epoch is not valid at this machine's time. {shown}",
            "Set this machine's clock, or the server's."
            if is_ours_wrong
            else "Check both clocks. If they are right, an old key document is "
            "replayed: look for a cache, or tell the operator.",
        )
    if causes:
        return fault(CLOCK, f"{causes[0].seen} {shown}", causes[0].advice)
    if offset is None:
        return not_tested(CLOCK, "no answer has the header Date just once")
    if abs(offset) > _COMFORTABLE_S:
        return warning(
            CLOCK,
            shown,
            "Set the clocks: this machine's may be at most 60 s ahead.",
        )
    return ok(CLOCK, shown)


def _shown(offset: float | None) -> str:
    if offset is None:
        return "No header Date tells what the server's clock says."
    seconds = round(abs(offset))
    if not seconds:
        return "By the header Date, both clocks agree."
    where = "ahead of" if offset > 0 else "behind"
    return f"By the header Date, the server's clock is {seconds} s {where} this one."


def clock_offset_s(seen: Observations) -> float | None:
    """Return how far the server is ahead, by the answers that have one date; or None."""
    offsets = []
    for item in (item for answer in seen.answers for item in answer.seen):
        dates = item.values("date")
        if len(dates) != 1:
            continue
        try:
            date = email.utils.parsedate_to_datetime(dates[0]).timestamp()
        except (ValueError, OverflowError):
            continue
        offsets.append(date + 0.5 - item.at_ms / 1000)
    # A slow answer's date is old when it is read: the fastest one tells most.
    return max(offsets) if offsets else None
