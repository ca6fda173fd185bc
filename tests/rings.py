"""Key rings and clocks for tests."""

from __future__ import annotations

from collections.abc import Callable

from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.epochs import EpochSource, EpochTimes
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.own_epochs import OwnEpochs

HOUR = 3_600_000
IDENTITY = IdentityKey.generate()


class Clocks:
    """A wall clock and one that nobody can set, both by hand. In milliseconds."""

    def __init__(self, now: int = 1_800_000_000_000) -> None:
        self.now = now
        self._elapsed = 5_000_000

    def elapsed(self) -> int:
        """Return the time of the clock that nobody can set."""
        return self._elapsed

    def go(self, ms: int) -> int:
        """Let time pass; return the wall clock."""
        self._elapsed += ms
        self.now += ms
        return self.now

    def set_wall_by(self, ms: int) -> int:
        """Set the wall clock, without time passing; return it."""
        self.now += ms
        return self.now


def own_ring(period_ms: int = HOUR, *, overlap: int = 1) -> KeyRing:
    """Return a ring of a fresh identity with epochs of its own, before its first tick."""
    source = OwnEpochs(EpochTimes(period_ms, overlap))
    return KeyRing(IdentityKey.generate(), source)


def ring_of_source(
    source: EpochSource,
    clocks: Clocks,
    *,
    identity: IdentityKey = IDENTITY,
    evidence: Callable[[bytes], bytes] | None = None,
) -> KeyRing:
    """Return a ring that has ticked once."""
    ring = KeyRing(identity, source, evidence=evidence, elapsed=clocks.elapsed)
    ring.tick(clocks.now)
    return ring
