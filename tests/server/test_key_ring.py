"""The key ring over epochs of its own: what a key says, when it answers, when it goes."""

from __future__ import annotations

import hashlib
import logging

import pytest

from stainedglass_output_protection.errors import (
    ConfigurationError,
    DecryptionError,
    KeysUnavailableError,
)
from stainedglass_output_protection.protocol.constants import NO_EVIDENCE
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.suites import SUITE_NUMBERS, seal
from stainedglass_output_protection.protocol.trust import StatementPolicy
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import EpochKey, KeyRing
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from tests.rings import HOUR, IDENTITY, Clocks, ring_of_source

MINUTE = 60_000


def own(clocks: Clocks, period: int = HOUR, overlap: int = 1) -> OwnEpochs:
    return OwnEpochs(EpochTimes(period, overlap), elapsed=clocks.elapsed)


def key_id(key: EpochKey) -> bytes:
    return key.statement.key_id


def test_the_document_says_what_the_statement_signs() -> None:
    clocks = Clocks()
    key = ring_of_source(own(clocks), clocks).current(clocks.now)
    document = KeyDocument.from_text(key.document_text)
    assert document.statement == key.statement
    assert document.statement.encode() == key.encoded_statement
    assert document.retires_at == key.retires_at == clocks.now + 2 * HOUR
    assert document.evidence == b""
    assert key.statement.evidence_hash == NO_EVIDENCE
    assert tuple(document.suite_public_keys) == SUITE_NUMBERS
    pins = frozenset({IDENTITY.fingerprint})
    StatementPolicy(pins).accept(document.statement, now_ms=clocks.now)
    for number in SUITE_NUMBERS:
        sealed = seal(number, document.suite_public_keys[number], b"hello", b"info")
        assert key.open(number, sealed, b"info") == b"hello"
        with pytest.raises(DecryptionError):
            key.open(number, sealed, b"other info")


def test_the_exchange_is_the_client_s() -> None:
    clocks = Clocks()
    key = ring_of_source(own(clocks), clocks).current(clocks.now)
    pair = ClientKeyPair.generate()
    assert key.exchange(pair.public_key) == pair.exchange(key.public_key)


@pytest.mark.parametrize(
    ("period", "overlap", "life", "valid"),
    [
        (HOUR, 1, 2 * HOUR, 2 * HOUR),
        (HOUR, 3, 4 * HOUR, 4 * HOUR),
        (100, 1, 200, 10 * MINUTE),
        (MINUTE, 9, 10 * MINUTE, 10 * MINUTE),
        (24 * HOUR, 1, 48 * HOUR, 48 * HOUR),
    ],
)
def test_private_halves_go_after_the_life_and_statements_live_ten_minutes_at_least(
    period: int, overlap: int, life: int, valid: int
) -> None:
    clocks = Clocks()
    start = clocks.now
    ring = ring_of_source(own(clocks, period, overlap), clocks)
    key = ring.current(start)
    assert (key.statement.epoch, key.statement.not_after) == (start, start + valid)
    assert key.retires_at == start + life
    clocks.go(life - 1)
    assert ring.by_id(key_id(key), clocks.now) is key
    clocks.go(1)
    assert ring.by_id(key_id(key), clocks.now) is None


@pytest.mark.parametrize(
    ("period", "overlap"), [(0, 1), (HOUR, 0), (HOUR, 256), (24 * HOUR + 1, 1), (-5, 1)]
)
def test_a_life_out_of_range_is_refused(period: int, overlap: int) -> None:
    with pytest.raises(ConfigurationError, match="SG_KEY_OVERLAP_EPOCHS"):
        EpochTimes(period, overlap)


@pytest.mark.parametrize("overlap", [1, 2, 5])
def test_ticks_come_when_keys_are_due_and_the_number_of_keys_is_bounded(
    overlap: int,
) -> None:
    clocks = Clocks()
    ring = ring_of_source(own(clocks, overlap=overlap), clocks)
    seen = [ring.current(clocks.now)]
    for _ in range(10):
        assert ring.next_tick_ms(clocks.now) == HOUR
        clocks.go(HOUR)
        ring.tick(clocks.now)
        seen.append(ring.current(clocks.now))
        live = [key for key in seen if ring.by_id(key_id(key), clocks.now) is key]
        assert live == seen[-(1 + overlap) :]
    starts = [key.statement.epoch for key in seen]
    assert starts == sorted(set(starts))
    assert len({key.public_key for key in seen}) == len(seen)


def test_an_early_tick_makes_nothing() -> None:
    clocks = Clocks()
    ring = ring_of_source(own(clocks), clocks)
    key = ring.current(clocks.now)
    ring.tick(clocks.go(HOUR - 1))
    assert ring.current(clocks.now) is key


def test_a_ring_that_never_ticked_has_no_key() -> None:
    clocks = Clocks()
    ring = KeyRing(IDENTITY, own(clocks), elapsed=clocks.elapsed)
    with pytest.raises(KeysUnavailableError, match="lifespan has not run"):
        ring.current(clocks.now)
    assert ring.by_id(bytes(8), clocks.now) is None


def test_after_a_pause_the_next_answer_makes_a_new_key() -> None:
    clocks = Clocks()
    ring = ring_of_source(own(clocks), clocks)
    first = ring.current(clocks.now)
    second = ring.current(clocks.go(5 * HOUR))
    assert second.statement.epoch == clocks.now
    assert ring.by_id(key_id(first), clocks.now) is None


def test_an_epoch_grows_and_ends_in_time_though_the_clock_goes_back() -> None:
    clocks = Clocks()
    ring = ring_of_source(own(clocks), clocks)
    first = ring.current(clocks.now)
    clocks.set_wall_by(-24 * HOUR)
    assert ring.current(clocks.now) is first
    ring.tick(clocks.go(HOUR))
    second = ring.current(clocks.now)
    assert second.statement.epoch == first.statement.epoch + 1
    ring.tick(clocks.go(HOUR))
    assert ring.by_id(key_id(first), clocks.now) is None
    assert ring.current(clocks.now) is not second


def test_no_key_outlives_its_time_without_a_tick_and_with_a_clock_gone_back() -> None:
    clocks = Clocks()
    ring = ring_of_source(own(clocks), clocks)
    first = ring.current(clocks.now)
    clocks.set_wall_by(-24 * HOUR)
    clocks.go(2 * HOUR - 1)
    assert ring.by_id(key_id(first), clocks.now) is first
    clocks.go(1)
    assert ring.by_id(key_id(first), clocks.now) is None


def test_a_clock_that_jumps_forward_ends_what_has_retired_and_makes_a_new_key() -> None:
    clocks = Clocks()
    ring = ring_of_source(own(clocks), clocks)
    first = ring.current(clocks.now)
    assert ring.current(clocks.set_wall_by(24 * HOUR)).statement.epoch == clocks.now
    assert ring.by_id(key_id(first), clocks.now) is None


def test_evidence_is_asked_for_the_digest_and_is_in_the_document() -> None:
    clocks = Clocks()
    digests = []

    def provider(digest: bytes) -> bytes:
        digests.append(digest)
        return b"quote of " + digest

    key = ring_of_source(own(clocks), clocks, evidence=provider).current(clocks.now)
    document = KeyDocument.from_text(key.document_text)
    assert digests == [key.statement.digest]
    assert document.evidence == b"quote of " + digests[0]
    assert key.statement.evidence_hash == hashlib.sha256(document.evidence).digest()


@pytest.mark.parametrize("answer", [b"", bytes(64 * 1024 + 1), None, "text", OSError])
def test_a_provider_that_fails_keeps_the_old_key_and_its_words_stay_inside(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    clocks = Clocks()
    answers: list[object] = [b"good"]
    calls = 0

    def provider(digest: bytes) -> bytes:
        nonlocal calls
        calls += 1
        if answers[-1] is OSError:
            raise OSError("a secret word")
        return answers[-1]  # type: ignore[return-value]

    ring = ring_of_source(own(clocks), clocks, evidence=provider)
    first = ring.current(clocks.now)
    answers.append(answer)
    clocks.go(HOUR)
    for _ in range(3):
        with pytest.raises(KeysUnavailableError) as raised:
            ring.tick(clocks.now)
        assert raised.value.__context__ is None
    assert calls == 2
    assert ring.current(clocks.now) is first
    assert ring.next_tick_ms(clocks.now) == 10_000
    with pytest.raises(KeysUnavailableError, match="SG_EVIDENCE_PROVIDER"):
        ring.tick(clocks.go(10_000))
    assert calls == 3
    assert len(caplog.records) == 1
    assert "secret word" not in caplog.text

    clocks.go(HOUR)
    with pytest.raises(KeysUnavailableError):
        ring.current(clocks.now)
    answers.append(b"good again")
    assert ring.current(clocks.go(10_000)).statement.epoch > first.statement.epoch
    assert "usable epoch keys again" in caplog.records[-1].message


def test_the_largest_evidence_fits_into_the_document() -> None:
    clocks = Clocks()
    ring = ring_of_source(own(clocks), clocks, evidence=lambda _: bytes(64 * 1024))
    text = ring.current(clocks.now).document_text
    assert len(KeyDocument.from_text(text).evidence) == 64 * 1024


def test_no_secret_shows(caplog: pytest.LogCaptureFixture) -> None:
    clocks = Clocks()
    source = own(clocks)
    with caplog.at_level(logging.DEBUG):
        ring = ring_of_source(source, clocks)
    epoch = source.live(clocks.now)[0]
    shown = repr((ring, ring.current(clocks.now), epoch, source.live(clocks.now)))
    for text in (shown, caplog.text):
        assert repr(epoch.secret)[2:-1] not in text
        assert epoch.secret.hex() not in text
