"""Checks of streams: which events arrive, in which form, and when."""

from __future__ import annotations

from typing import Final

from stainedglass_output_protection.apps.doctor.causes import CACHING, OWN, causes_for
from stainedglass_output_protection.apps.doctor.check_sealed import why_not
from stainedglass_output_protection.apps.doctor.findings import (
    Finding,
    not_tested,
    ok,
    warning,
)
from stainedglass_output_protection.apps.doctor.observations import (
    Answer,
    Observations,
    SealedProbe,
)
from stainedglass_output_protection.apps.doctor.wire import Seen
from stainedglass_output_protection.errors import ResponseError
from stainedglass_output_protection.protocol.events import (
    EventSplitter,
    event_data,
    is_comment,
    one_line_data,
)

EVENTS, EVENT_LINES, TIMING = "events", "event-lines", "timing"
_NO_HARM = (
    "Nothing has to be done for protection: its clients open such streams, and ignore "
    "what is not sealed. Other readers of them may stumble."
)
# So many events tell something of their pace, and so much time, in so many streams:
# one alone may have been held up by a machine that stood still.
_FEW_EVENTS: Final = 8
_LEAST_S: Final = 0.75
_LEAST_STREAMS: Final = 2
# One, and one more, since a read may end just where an event does.
_FEW_PIECES: Final = 2
_LEAST_GAP_S: Final = 0.02
_CRUMBS: Final = 8


def blocks_of(body: bytes) -> list[bytes]:
    """Return the events of a stream and the comments between them."""
    splitter = EventSplitter()
    try:
        return [*splitter.feed(body), *splitter.end()]
    except ResponseError:
        return []


def events_of(body: bytes) -> list[bytes]:
    """Return the events of a stream."""
    return [block for block in blocks_of(body) if event_data(block) is not None]


def _streams(seen: Observations) -> list[SealedProbe]:
    return [
        it
        for it in seen.sealed
        if it.is_stream and it.answer.is_opened and events_of(it.answer.body)
    ]


def check_events(seen: Observations) -> Finding:
    """Tell whether the events of a chat arrive as the server wrote them, and no others."""
    streams = [it.answer for it in _streams(seen)]
    if causes_for(OWN, [it.answer for it in seen.sealed if it.is_stream], seen):
        return not_tested(EVENTS, "see sealed-stream")
    if not streams:
        return not_tested(EVENTS, _why_no_stream(seen))
    said = list(dict.fromkeys(it for answer in streams for it in _oddities(answer)))
    if said:
        sentence = "; ".join(said)
        return warning(EVENTS, f"{sentence[0].upper()}{sentence[1:]}.", _NO_HARM)
    count = max(len(events_of(it.body)) for it in streams)
    return ok(EVENTS, f"All events arrive, as they were written (up to {count}).")


def _why_no_stream(seen: Observations) -> str:
    return "no stream of the model opened" if seen.sealed else why_not(seen)


def _oddities(answer: Answer) -> list[str]:
    """Return what is odd about a stream, by what was sealed in it."""
    last = answer.last
    if last is None:
        return []
    outer, inner = blocks_of(last.body), events_of(answer.body)
    events = [it for it in outer if event_data(it) is not None]
    ends = [it for it in events if (event_data(it) or b"").startswith(b"[DONE]")]
    said = []
    has_end = any((event_data(it) or b"").startswith(b"[DONE]") for it in inner)
    if has_end and not ends:
        said.append("the end mark [DONE] is dropped")
    # The last frame has an event of its own, and there is one end mark.
    expected = len(inner) + 1 - has_end
    found = len(events) - len(ends)
    if found < expected:
        said.append("events without text are dropped")
    if found > expected or len(ends) > 1:
        said.append("events that are not the server's are added")
    if any(is_comment(it) and it.strip() != b":" for it in outer):
        said.append("comments are added")
    if any(one_line_data(it) is None for it in events):
        said.append("lines of events are written anew")
    if len(last.arrivals) > _CRUMBS * len(outer):
        said.append("they are cut into tiny pieces")
    return said


def check_event_lines(seen: Observations) -> Finding:
    """Tell whether the ``event:`` lines of the routes that have them are kept."""
    answer = seen.named_events
    if answer is None or answer.last is None:
        return not_tested(EVENT_LINES, why_not(seen))
    named = [it for it in blocks_of(answer.body) if _has_name(it)]
    if not answer.is_opened or not named:
        return not_tested(EVENT_LINES, "no stream with such lines opened")
    if any(map(_has_name, blocks_of(answer.last.body))):
        return ok(EVENT_LINES, "The event: lines of streams arrive.")
    return warning(EVENT_LINES, "The event: lines of streams are dropped.", _NO_HARM)


def _has_name(block: bytes) -> bool:
    return any(line.startswith(b"event:") for line in block.splitlines())


def check_timing(seen: Observations) -> Finding:
    """Tell whether events arrive one by one, or are held and come together."""
    if causes_for(CACHING, seen.seals, seen):
        return not_tested(TIMING, "see caching")
    long = [it.answer.last for it in _streams(seen) if it.is_long and it.answer.last]
    long = [it for it in long if len(events_of(it.body)) >= _FEW_EVENTS]
    if not long:
        return not_tested(TIMING, "no stream with enough events opened")
    held = "Events are held, and arrive together at the end."
    advice = "Switch off buffering for event streams on the way."
    if all(_pieces(it) <= _FEW_PIECES for it in long):
        return warning(TIMING, held, advice)
    short = [it.answer.last for it in _streams(seen) if not it.is_long]
    made_s = min(map(_whole_s, long)) - max(
        (_whole_s(it) for it in short if it), default=0
    )
    spread_s = max(map(_spread_s, long))
    if made_s < _LEAST_S or len(long) < _LEAST_STREAMS:
        return ok(TIMING, "Events arrive in many pieces, too quickly to tell more.")
    if spread_s < made_s / 2:
        return warning(TIMING, held, advice)
    if all(_are_coalesced(it) for it in long):
        return warning(
            TIMING, "Several events arrive together, again and again.", advice
        )
    return ok(TIMING, f"Events arrive one by one, over {spread_s:.1f} s.")


def _pieces(seen: Seen) -> int:
    """Return how often a piece ended with an event: large ones are read in parts."""
    count, tail = 0, b""
    for _, data in seen.arrivals:
        tail = (tail + data)[-4:]
        count += tail.endswith((b"\n\n", b"\r\n\r\n"))
    return count


def _whole_s(seen: Seen) -> float:
    return seen.arrivals[-1][0] - seen.asked_s if seen.arrivals else 0.0


def _spread_s(seen: Seen) -> float:
    return seen.arrivals[-1][0] - seen.arrivals[0][0] if seen.arrivals else 0.0


def _are_coalesced(seen: Seen) -> bool:
    events = len(events_of(seen.body))
    is_slow = _spread_s(seen) / events >= _LEAST_GAP_S
    return is_slow and _pieces(seen) * 3 <= events
