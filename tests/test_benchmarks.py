"""The measurements run, and a response's memory does not grow with its length."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

pytest.importorskip("mistral_common", reason="the benchmarks read its tokenizer")

from benchmarks import cost, leakage, memory, seal, size
from benchmarks.events import SHAPES, Shape
from benchmarks.harness import SEVERAL, one_response

_EVENTS = 1_000_000
# Two bytes kept of each event would be more.
_RESIDENT_BOUND = 2_000_000
# One event with its envelope, frame and messages, several times over.
_TRACED_EVENTS = 50_000
_TRACED_BOUND = 16_384


def test_quick_run_reports_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert seal.main(["--quick", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        *("met", "took_s", "targets"),
        *("cost", "size", "leakage", "first_event"),
    }
    for part in ("cost", "size", "leakage"):
        assert found[part]
        assert all(row["shape"] and "met" in row for row in found[part])
    measured = {"ratio", "limit", "protection_us", "base_http_us"}
    assert measured <= set(found["cost"][0])
    assert {"ratio", "plain", "protected"} <= set(found["size"][0])
    assert {"bits", "changes", "sizes", "of_what"} <= set(found["leakage"][0])
    assert {"added_ms", "requests"} <= set(found["first_event"])


def test_table_shows_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    seal.main(["--quick"])

    text = capsys.readouterr().out
    assert text.count("content  ") == 4
    assert " of 0.333  (" in text
    assert "First event" in text


def test_larger_events_may_cost_more_in_proportion_to_their_bytes() -> None:
    limits = {shape.name: cost.limit_of(shape) for shape in SHAPES}

    assert limits["content"] == limits["messages"] == cost.TARGET_RATIO
    content, usage = (
        [len(event.data) for event in one_response(shape, cost.EVENTS)]
        for shape in (SHAPES[0], SHAPES[7])
    )
    larger = sum(usage) / len(usage) / (sum(content) / len(content))
    assert 1.4 < larger < 1.5
    assert limits["continuous usage"] == pytest.approx(cost.TARGET_RATIO * larger)


def test_a_cost_beyond_its_limit_is_no_success() -> None:
    measured = cost.measure(SHAPES[0], rounds=2, events=20)

    assert not replace(measured, ratio=0.5, limit=0.49).is_met
    assert replace(measured, ratio=0.5, limit=0.5).is_met


def test_information_is_that_of_the_definition() -> None:
    column = [0, 0, 1, 1] * 25

    assert leakage.information(column, column) == pytest.approx(1.0)
    assert leakage.information(column, [0, 1] * 50) == pytest.approx(0.0)


def test_shuffling_finds_nothing_where_nothing_is_and_finds_a_leak() -> None:
    source = random.Random(1)
    lengths = [source.randrange(7) for _ in range(2_100)]
    unrelated = [number // 300 % 2 for number in range(2_100)]
    telling = [length // 4 for length in lengths]

    assert abs(leakage.excess(lengths, unrelated, block=300)[0]) < 0.01
    assert leakage.excess(lengths, telling, block=300)[0] > 0.5


_ENDS = (
    b"data: [DONE]\n\n",
    b"event: response.completed\n",
    b"event: message_stop\n",
)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_streams_carry_the_tokens_that_were_asked_for(shape: Shape) -> None:
    events = one_response(shape, 10, per_event=SEVERAL, seed=3)

    carrying = [event for event in events if event.tokens]
    assert len(carrying) == 10
    assert all(1 <= len(event.tokens) <= 8 for event in carrying)
    assert events[-1].data.startswith(_ENDS)
    first = json.loads(events[0].data.partition(b"data: ")[2])
    for member in ("response", "message"):
        first = first.get(member, first)
    assert first["model"] == shape.model


@pytest.mark.parametrize("name", ["content", "opaque"])
def test_bytes_stay_below_their_limit(name: str) -> None:
    shape = next(shape for shape in SHAPES if shape.name == name)

    assert name in size.TARGET_RATIOS
    assert size.measure(shape).is_met


@pytest.mark.skipif(not memory.can_read_resident(), reason="needs /proc")
def test_a_million_events_take_no_more_memory_than_a_few() -> None:
    assert memory.resident_growth(_EVENTS) < _RESIDENT_BOUND


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[7]], ids=lambda shape: shape.name)
def test_a_stream_holds_one_event_at_a_time(shape: Shape) -> None:
    assert memory.peak_growth(_TRACED_EVENTS, shape=shape) < _TRACED_BOUND
