"""Checks of the server's probe: a comment and an event, and one header sent twice."""

from __future__ import annotations

from typing import Final

from stainedglass_output_protection.apps.doctor.check_server import is_ours
from stainedglass_output_protection.apps.doctor.check_streams import blocks_of
from stainedglass_output_protection.apps.doctor.findings import (
    Finding,
    not_tested,
    ok,
    warning,
)
from stainedglass_output_protection.apps.doctor.observations import Observations
from stainedglass_output_protection.apps.doctor.wire import Seen
from stainedglass_output_protection.protocol.events import event_data
from stainedglass_output_protection.protocol.path_probe import (
    PROBE_COMMENT,
    PROBE_HEADER,
    PROBE_OBJECT,
    PROBE_VALUES,
)

COMMENTS, REPEATED = "comments", "repeated-headers"
_OK: Final = 200


def check_comments(seen: Observations) -> Finding:
    """Tell whether the comments of streams are kept."""
    probe = _probe(seen)
    if probe is None:
        return not_tested(COMMENTS, _why_not(seen))
    if any(PROBE_COMMENT in block.splitlines() for block in blocks_of(probe.body)):
        return ok(COMMENTS, "The comments of streams arrive.")
    return warning(
        COMMENTS,
        "The comments of streams are dropped.",
        "Nothing has to be done for protection. A server may send comments while a "
        "stream stands still (--sse-keep-alive-interval): without them, what ends silent "
        "connections ends such streams.",
    )


def check_repeated_headers(seen: Observations) -> Finding:
    """Tell whether headers of one name arrive as they were sent: more than one."""
    probe = _probe(seen)
    if probe is None:
        return not_tested(REPEATED, _why_not(seen))
    # A gateway that renames headers puts something in front of them.
    came = [value for name, value in probe.headers if name.endswith(PROBE_HEADER)]
    values = {it.strip() for value in came for it in value.split(",")}
    kept = values & set(PROBE_VALUES)
    if not kept:
        return not_tested(REPEATED, "the headers of the server's probe do not arrive")
    advice = "Clients read none of these; nothing has to be done for protection."
    if len(kept) < len(PROBE_VALUES):
        return warning(REPEATED, "Of two headers of one name only one arrives.", advice)
    if len(came) < len(PROBE_VALUES):
        return warning(REPEATED, "Two headers of one name are joined to one.", advice)
    return ok(REPEATED, "Two headers of one name arrive as two.")


def _probe(seen: Observations) -> Seen | None:
    """Return the exchange in which the probe came; None if it did not come as such."""
    answer = seen.path_probe
    probe = None if answer is None or answer.failure is not None else answer.last
    if probe is None or probe.status != _OK or probe.media_type != "text/event-stream":
        return None
    events = [event_data(block) or b"" for block in blocks_of(probe.body)]
    is_whole = any(PROBE_OBJECT.encode("ascii") in it for it in events)
    return probe if is_whole else None


def _why_not(seen: Observations) -> str:
    if not is_ours(seen):
        return "no server with output protection answers"
    answer = seen.path_probe
    if answer is None:
        return seen.ended or "no usable key document came"
    if answer.last is None or answer.last.status == _OK:
        return "the server's probe did not arrive as it was sent"
    return (
        f"the server's probe did not arrive (status {answer.last.status}): its path is "
        "not passed on, or the server is too old to have it"
    )
