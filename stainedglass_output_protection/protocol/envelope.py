"""The clear envelope around one frame: what gateways see in place of a body or event.

Specification: ``protocol.md#container-fields``. An envelope is rendered once with a
placeholder for the frame and is then a few constant byte strings. What stands in it is
decided by the modules named ``*_envelopes``.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from stainedglass_output_protection.protocol.readable import Number

# Unguessable, so that no readable member can hold it.
CARRIER = secrets.token_hex(16)
_CARRIER_BYTES = CARRIER.encode("ascii")
_NUMBER_BYTES = secrets.token_hex(16).encode("ascii")
NUMBER = Raw(_NUMBER_BYTES)
EVENT_END = b"\n\n"
_WIDTH = 7
_FORMAT = b"%%%dd" % _WIDTH
# Most streams are shorter: made once, they cost a third.
_NUMBERS = tuple(_FORMAT % number for number in range(2048))

encode = msgspec.json.Encoder().encode


class Envelope(NamedTuple):
    """The bytes before and after the frame's text. ``after`` is None without room.

    If ``end`` is there, the number of the event goes between ``after`` and ``end``.
    ``repeats`` says that other events of its stream are likely to have the same one;
    ``is_apart`` that the event is of a kind whose size is not that of a piece of text.
    ``without_usage`` is there if it ends with a usage, and is what it is without.
    ``tails`` are what follows the frame's text in the first events, by their number.
    """

    before: bytes
    after: bytes | None
    end: bytes | None = None
    repeats: bool = True
    is_apart: bool = False
    without_usage: Envelope | None = None
    tails: tuple[bytes, ...] = ()

    def around(self, frame_text: bytes, number: int = 0) -> bytes:
        """Return the envelope with a frame in it. It must have room."""
        after = self.after or b""
        if self.end is None:
            return self.before + frame_text + after
        return self.before + frame_text + after + number_text(number) + self.end


def number_text(number: int) -> bytes:
    """Return the number of an event at its constant width."""
    return _NUMBERS[number] if number < len(_NUMBERS) else _FORMAT % number


@lru_cache(maxsize=16)
def numbered_tails(after: bytes, end: bytes) -> tuple[bytes, ...]:
    """Return ``tails`` for an envelope that is the same in every response.

    There are fewer of those than are kept; each takes some 300 KiB.
    """
    return tuple(after + number + end for number in _NUMBERS)


def body_of(members: dict[str, Any]) -> Envelope:
    """Return the envelope of a body; a member whose value is ``CARRIER`` has the frame."""
    before, found, after = encode(members).partition(_CARRIER_BYTES)
    return Envelope(before, after if found else None)


def event_of(members: dict[str, Any], name: str | None = None) -> Envelope:
    """Return the envelope of an event, with a line ``event:`` if it has a ``name``.

    A member whose value is ``NUMBER``, which must come after the carrier, gets the
    event's number, at a constant width.
    """
    line = b"" if name is None else b"event: " + name.encode("ascii") + b"\n"
    data = line + b"data: " + encode(members) + EVENT_END
    before, found, after = data.partition(_CARRIER_BYTES)
    if not found:
        return Envelope(before, None)
    after, has_number, end = after.partition(_NUMBER_BYTES)
    return Envelope(before, after, end if has_number else None)


def apart(envelope: Envelope) -> Envelope:
    """Return the envelope of an event that opens, closes or tells of the whole."""
    return envelope._replace(repeats=False, is_apart=True)


def padded(number: Number) -> Any:
    """Return a number as JSON of one width, so that its size tells nothing."""
    return Raw(encode(number).rjust(_WIDTH)) if isinstance(number, int) else number


SEALED_EVENT = event_of({"sealed": CARRIER})
