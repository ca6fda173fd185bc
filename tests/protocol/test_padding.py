"""The ladder and Padmé keep the promises of ``protocol.md#padding``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stainedglass_output_protection.protocol.padding import (
    LADDER,
    PaddedRecords,
    climb,
    padme,
    rung,
)

SIZES = st.integers(0, 2**32)


@given(size=SIZES)
def test_a_rung_holds_what_it_must(size: int) -> None:
    assert size <= rung(size) <= max(128, 2 * size)


@given(sizes=st.lists(st.integers(0, 2**20), min_size=1))
def test_a_stream_s_size_never_shrinks(sizes: list[int]) -> None:
    current = 0
    for size in sizes:
        climbed = climb(current, size)
        assert climbed >= max(current, size)
        assert climbed == current or climbed in LADDER
        current = climbed


@given(size=SIZES)
def test_padme_wastes_at_most_an_eighth_above_the_least_size(size: int) -> None:
    padded = padme(size)
    assert padded >= max(size, 1024)
    assert padded <= 1024 or padded <= size * 1.125
    assert padme(padded) == padded


@given(tails=st.lists(st.binary(max_size=2000), min_size=1), shared=st.integers(0, 99))
def test_a_record_is_whole_and_of_the_size_that_was_climbed_to(
    tails: list[bytes], shared: int
) -> None:
    records = PaddedRecords()
    current = 0
    for tail in tails:
        current = climb(current, 8 + len(tail))
        if len(tail) > records.room:
            records.make_room(len(tail))
        record = records.pack(shared, len(tail), tail)
        start = shared.to_bytes(4, "big") + len(tail).to_bytes(4, "big") + tail
        assert record == start + bytes(current - len(start))


def test_padme_of_the_paper_s_examples() -> None:
    assert [padme(size) for size in (1024, 1025, 2**20 + 1)] == [
        1024,
        1088,
        2**20 + 2**15,
    ]
