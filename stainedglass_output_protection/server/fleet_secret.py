"""What the replicas of a fleet share, and its text form (``protocol.md#fleet``).

The form has the base epoch twice, in slots of one size, each with a check of its own:
so it can be replaced in place, one slot after the other, without a moment in which the
only copy is half written. Reading and writing files is the caller's business.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.constants import SECRET_SIZE
from stainedglass_output_protection.protocol.encoding import (
    decode_base64,
    encode_base64,
)
from stainedglass_output_protection.server.epochs import EpochTimes

MAGIC: Final = b"sgop1-fleet 1\n"
MIN_FLEET_PERIOD_MS: Final = 1000

_COMMENT = b"# Secret. Keep no copy. Move it on in place: sg-vllm keys advance FILE\n"
_TEXT = re.compile(
    rb"(sgop1-fleet 1\n(?:#[^\n]*\n)*"
    rb"anchor_ms=(\d{1,15})\nperiod_ms=(\d{1,9})\noverlap=(\d{1,3})\n)"
    rb"base=([^\n]{82})\nbase=([^\n]{82})\n",
    re.DOTALL,
)
_SLOT = re.compile(rb"(\d{20}) ([A-Za-z0-9+/]{43}=) ([0-9a-f]{16})")


@dataclass(frozen=True)
class FleetSecret:
    """The base epoch's index and ratchet secret, and how epochs lie in time.

    Epoch ``e`` begins at ``anchor_ms + e * period``, in Unix milliseconds.
    """

    anchor_ms: int
    times: EpochTimes
    index: int
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls, times: EpochTimes, now_ms: int) -> FleetSecret:
        """Return a fresh one.

        Raises:
            ConfigurationError: the period is too short.
        """
        if times.period_ms < MIN_FLEET_PERIOD_MS:
            raise ConfigurationError("A fleet's period must be at least 1 second.")
        # A period ago: the base epoch has begun on machines whose clocks are behind.
        anchor = now_ms - times.period_ms
        return cls(anchor, times, 0, secrets.token_bytes(SECRET_SIZE))

    def start_of(self, index: int) -> int:
        """Return when an epoch begins."""
        return self.anchor_ms + index * self.times.period_ms

    def index_at(self, time_ms: int) -> int:
        """Return the newest epoch that has begun at a time."""
        return (time_ms - self.anchor_ms) // self.times.period_ms

    def oldest_live_at(self, time_ms: int) -> int:
        """Return the oldest epoch that has not retired at a time."""
        return self.index_at(time_ms - self.times.life_ms) + 1


@dataclass(frozen=True)
class FleetText:
    """A fleet secret as it stands in a file.

    ``slots`` are the places (offset, length) of the two slots; ``newest`` is the one
    that ``fleet`` was read from; ``is_settled`` tells whether both hold the same.
    """

    fleet: FleetSecret
    header: bytes = field(repr=False)
    slots: tuple[int, int]
    newest: int
    is_settled: bool

    def slot_for(self, index: int, secret: bytes) -> bytes:
        """Return the bytes of a slot that holds another base epoch."""
        return _slot(self.header, index, secret)


def fleet_text(fleet: FleetSecret) -> bytes:
    """Return the text form. The caller must keep it secret."""
    header = (
        MAGIC
        + _COMMENT
        + f"anchor_ms={fleet.anchor_ms}\nperiod_ms={fleet.times.period_ms}\n"
        f"overlap={fleet.times.overlap}\n".encode("ascii")
    )
    line = b"base=" + _slot(header, fleet.index, fleet.secret) + b"\n"
    return header + line + line


def parse_fleet_text(data: bytes) -> FleetText:
    """Return what a text form holds: of two base epochs the later one.

    Raises:
        ConfigurationError: it is not a whole text form, or was changed by hand.
    """
    match = _TEXT.fullmatch(data)
    if match is None:
        raise ConfigurationError("It is not a fleet secret of this version.")
    header, anchor, period, overlap = match.group(1, 2, 3, 4)
    found = [_read_slot(header, match[number]) for number in (5, 6)]
    whole = [slot for slot in found if slot is not None]
    if not whole:
        raise ConfigurationError("It is damaged, or was changed by hand.")
    index, secret = max(whole)
    times = EpochTimes(int(period), int(overlap))
    if times.period_ms < MIN_FLEET_PERIOD_MS:
        raise ConfigurationError("A fleet's period must be at least 1 second.")
    return FleetText(
        FleetSecret(int(anchor), times, index, secret),
        header,
        (match.start(5), match.start(6)),
        newest=found.index((index, secret)),
        is_settled=found[0] == found[1],
    )


def _slot(header: bytes, index: int, secret: bytes) -> bytes:
    content = b"%020d " % index + encode_base64(secret)
    return content + b" " + _check(header, content)


def _read_slot(header: bytes, slot: bytes) -> tuple[int, bytes] | None:
    match = _SLOT.fullmatch(slot)
    if match is None or match[3] != _check(header, slot[: match.end(2)]):
        return None
    secret = decode_base64(match[2])
    return None if secret is None else (int(match[1]), secret)


def _check(header: bytes, content: bytes) -> bytes:
    digest = hashlib.sha256(b"sgop1 fleet file" + header + content).hexdigest()
    return digest[:16].encode("ascii")
