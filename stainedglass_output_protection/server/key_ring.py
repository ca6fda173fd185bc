"""Epoch keys by key id: make, find, retire (``protocol.md#epoch-keys``).

Times come in as arguments, in Unix milliseconds.
"""

from __future__ import annotations

import contextlib
import logging

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.clock import elapsed_ms
from stainedglass_output_protection.server.epoch_key import EpochKey, make_epoch_key
from stainedglass_output_protection.server.epochs import Clock, Epoch, EpochSource
from stainedglass_output_protection.server.evidence import EvidenceProvider
from stainedglass_output_protection.server.observer import (
    KeyState,
    Observer,
    telling,
)

__all__ = ["EpochKey", "KeyRing"]

logger = logging.getLogger(__name__)

# How soon a provider of evidence that failed is asked again.
_RETRY_MS = 10_000


class KeyRing:
    """The keys of all epochs that live. Not safe to share by threads.

    The caller must call ``tick`` once before the first use, and again as soon as
    ``next_tick_ms`` says. What keeps keys from being had is logged once. ``observer`` is
    told of new keys and of those that live; None is the process's.
    """

    def __init__(
        self,
        identity: IdentityKey,
        source: EpochSource,
        *,
        evidence: EvidenceProvider | None = None,
        elapsed: Clock = elapsed_ms,
        observer: Observer | None = None,
    ) -> None:
        self.identity = identity
        self._source = source
        self._evidence = evidence
        self._elapsed = elapsed
        self._observer = telling(observer)
        self._keys: dict[int, EpochKey] = {}
        self._has_ticked = False
        # What a provider of evidence failed with, and when to ask it again.
        self._failure = ""
        self._retry_at: int | None = None
        self._said: set[str] = set()

    def tick(self, now_ms: int) -> None:
        """Make the keys that are due and drop what has retired.

        Raises:
            KeysUnavailableError: a key cannot be made now; those that are there stay
                until they retire.
        """
        self._has_ticked = True
        made = 0
        try:
            epochs = self._source.live(now_ms)
            starts = {epoch.span.start for epoch in epochs}
            self._keys = {at: key for at, key in self._keys.items() if at in starts}
            for epoch in epochs:
                if epoch.span.start not in self._keys:
                    self._keys[epoch.span.start] = self._make(epoch)
                    made += 1
        except Exception as error:
            if isinstance(error, KeysUnavailableError):
                self.retire(now_ms)
                self._say_once(error)
            self._tell(now_ms, made, has_failed=True)
            raise
        self._tell(now_ms, made, has_failed=False)
        if self._said:
            with contextlib.suppress(KeysUnavailableError):
                self._source.check(now_ms)
                self._said.clear()
                logger.warning("The server has usable epoch keys again.")

    def next_tick_ms(self, now_ms: int) -> int:
        """Return in how many milliseconds ``tick`` is to be called again."""
        wait = self._source.next_change_ms(now_ms)
        if self._retry_at is not None:
            wait = min(wait, max(0, self._retry_at - self._elapsed()))
        return wait

    def state(self, now_ms: int) -> KeyState:
        """Return which keys are there; make nothing."""
        key = self._answering(now_ms)
        ends = [key.retires_at for key in self._keys.values()]
        return KeyState(
            mode=self._source.mode,
            period_ms=self._source.times.period_ms,
            live=len(ends),
            answers_since=None if key is None else key.span.start,
            retires_at=max(ends, default=None),
        )

    def retire(self, now_ms: int) -> None:
        """Drop the keys and secrets of every epoch that is over; make nothing."""
        for start, key in list(self._keys.items()):
            if self._source.is_over(key.span, now_ms):
                del self._keys[start]
        self._source.forget_retired(now_ms)

    def current(self, now_ms: int) -> EpochKey:
        """Return the key that answers now: a new one if the last has retired.

        Raises:
            KeysUnavailableError: there is none; ``tick`` has never been called, or the
                epochs cannot be had.
        """
        if not self._has_ticked:
            raise KeysUnavailableError(
                "The server has no usable epoch key: its lifespan has not run."
            )
        self._check(now_ms)
        problem = "No epoch of this server has begun."
        if self._source.is_due(now_ms) or self._answering(now_ms) is None:
            # A tick may come late, after a pause of the whole process for instance.
            try:
                self.tick(now_ms)
            except KeysUnavailableError as error:
                problem = str(error)
        key = self._answering(now_ms)
        if key is None:
            raise KeysUnavailableError(problem)
        return key

    def by_id(self, key_id: bytes, now_ms: int) -> EpochKey | None:
        """Return the key that has not retired and has this key id.

        Raises:
            KeysUnavailableError: no key may be used now.
        """
        self._check(now_ms)
        key = self._named(key_id, now_ms)
        if key is None and self._source.may_have_more(now_ms):
            with contextlib.suppress(KeysUnavailableError):
                self.tick(now_ms)
            key = self._named(key_id, now_ms)
        return key

    def _tell(self, now_ms: int, made: int, *, has_failed: bool) -> None:
        if made or has_failed:
            self._observer.rotated(made=made, has_failed=has_failed)
        self._observer.keys_are(self.state(now_ms))

    def _answering(self, now_ms: int) -> EpochKey | None:
        begun = [
            key
            for key in self._keys.values()
            if key.span.answers_from <= now_ms
            and not self._source.is_over(key.span, now_ms)
        ]
        return max(begun, key=lambda key: key.span.start, default=None)

    def _named(self, key_id: bytes, now_ms: int) -> EpochKey | None:
        for key in self._keys.values():
            if key.statement.key_id == key_id:
                return None if self._source.is_over(key.span, now_ms) else key
        return None

    def _make(self, epoch: Epoch) -> EpochKey:
        if self._retry_at is not None and self._elapsed() < self._retry_at:
            raise KeysUnavailableError(self._failure)
        self._retry_at = None
        try:
            return make_epoch_key(
                epoch,
                self.identity,
                life_ms=self._source.times.life_ms,
                evidence=self._evidence,
            )
        except KeysUnavailableError as error:
            self._failure = str(error)
            wait = min(_RETRY_MS, self._source.times.period_ms)
            self._retry_at = self._elapsed() + wait
            raise

    def _check(self, now_ms: int) -> None:
        try:
            self._source.check(now_ms)
        except KeysUnavailableError as error:
            self._say_once(error)
            raise

    def _say_once(self, error: KeysUnavailableError) -> None:
        if str(error) not in self._said:
            self._said.add(str(error))
            logger.error("Epoch keys cannot be had: %s", error)

    def __repr__(self) -> str:
        return f"KeyRing({self.identity.fingerprint!r}, {len(self._keys)} epochs)"
