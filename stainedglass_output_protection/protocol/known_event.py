"""Kinds of events that are known again without parsing (``protocol.md#implementation-notes``).

A kind is what stands before and after the one string that changes from event to event:
a delta's text, reasoning, or a tool call's arguments.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stainedglass_output_protection.protocol.envelope import Envelope, numbered_tails
from stainedglass_output_protection.protocol.usage_end import (
    open_for_usage,
    usual_usage,
)

_CHANGING_STRING = re.compile(
    rb'(?:[a-z_]+":(?:\[\{"index":\d+,"function":\{"arguments":)?'
    rb'|[a-z_]*_delta","[a-z_]+":)?'
    rb'"((?:[^"\\]|\\.)*)"'
)
# A number that counts the events, and what follows it: no string of the model's can be
# there, or the event would not end so.
_NUMBERED_END = re.compile(rb'"sequence_number":\d+(,"type":"[a-z_.]+"}\n\n)$')


class KnownEvent(NamedTuple):
    """A kind of event: how to know it again, and what its events have in common.

    If they end with a usage, it comes after ``ends``, and has to be added to the envelope.
    """

    starts: bytes
    ends: bytes
    first: int
    last: int
    readable_start: bytes
    envelope: Envelope
    # What they share with an event of another kind, by how that one begins.
    shared_after: dict[bytes, int]


def known_event(
    block: bytes, readable_start: bytes, envelope: Envelope
) -> KnownEvent | None:
    """Return the kind of an event, or None if it has no part that is known to change.

    ``readable_start`` is what the event and its envelope begin with.
    """
    match = _CHANGING_STRING.match(block, len(readable_start))
    if match is None:
        return None
    start, end = match.span(1)
    ends = block[end:]
    if envelope.end is not None:
        number = _NUMBERED_END.search(block, end)
        if number is None:
            return None
        ends = number[1]
        tails = numbered_tails(envelope.after or b"", envelope.end)
        envelope = envelope._replace(tails=tails)
    elif envelope.without_usage is not None:
        usage = usual_usage(block)
        if usage is None or usage.start() <= end:
            return None
        ends = block[end : usage.start()]
        envelope = open_for_usage(envelope.without_usage)
    return KnownEvent(
        block[:start], ends, start, -len(ends), readable_start, envelope, {}
    )
