"""Every route that vLLM mounts, with a body it answers and with one it refuses.

The routes come from the running app, so one that is new to vLLM fails here until it has
a body or a reason. vLLM's own app has answered 2xx to what counts: the tap inside the
protection has recorded it.
"""

from __future__ import annotations

import importlib.util

import pytest

from stainedglass_output_protection.client.verdict import Mark
from tests.tiny_dialogues import CANARIES
from tests.vllm_integration.doors.walk import Visit, Walk, table
from tests.vllm_integration.leaks import Detector

pytestmark = pytest.mark.vllm


def _is_clear(walk: Walk, visit: Visit) -> bool:
    return walk.doors[visit.method, visit.route].is_clear


def test_every_mounted_route_has_a_body_or_a_reason(walked: Walk) -> None:
    missing = walked.mounted - set(walked.doors)

    assert not missing, f"no body and no reason: {sorted(missing)}"
    for key in walked.mounted:
        door = walked.doors[key]
        assert bool(door.valid) != bool(door.reason), key


def test_every_body_is_for_a_mounted_route(walked: Walk) -> None:
    for key in set(walked.doors) - walked.mounted:
        package = walked.doors[key].package
        is_optional = package and importlib.util.find_spec(package) is None
        assert is_optional or walked.doors[key].is_clear, f"{key} is not mounted"


def test_vllm_answers_every_valid_body(walked: Walk) -> None:
    wrong = [
        str(visit)
        for visit in walked.valid
        if visit.emitted is None or not 200 <= visit.emitted.status < 300
    ]

    assert not wrong, "\n".join(wrong)
    assert len(list(table(walked))) == len(walked.mounted)


def test_invalid_bodies_reach_vllm_and_are_refused_by_it(walked: Walk) -> None:
    wrong = [
        str(visit)
        for visit in walked.invalid
        if visit.emitted is None or visit.emitted.status < 400
    ]

    assert not wrong, "\n".join(wrong)


def test_status_type_and_bytes_are_those_that_vllm_sent(walked: Walk) -> None:
    wrong = []
    for visit in (*walked.valid, *walked.invalid):
        answer, emitted = visit.answer, visit.emitted
        if answer is None or emitted is None:
            wrong.append(str(visit))
        elif (answer.status, answer.content_type, answer.body) != (
            emitted.status,
            emitted.content_type,
            b"" if visit.method == "HEAD" else emitted.body,
        ):
            kind = f"{answer.content_type} for {emitted.content_type}"
            wrong.append(f"{visit} {kind}; vLLM sent {emitted.body[:300]!r}")

    assert not wrong, "\n".join(wrong)


def test_what_is_not_clear_is_sealed(walked: Walk) -> None:
    wrong = []
    for visit in (*walked.valid, *walked.invalid):
        expected = Mark.CLEAR if _is_clear(walked, visit) else Mark.OPENED
        if visit.answer is None or visit.answer.verdict.mark is not expected:
            wrong.append(str(visit))

    assert not wrong, "\n".join(wrong)


def test_streams_are_streams(walked: Walk) -> None:
    for visit in walked.valid:
        if visit.ask.is_stream and visit.emitted is not None:
            assert visit.emitted.content_type.startswith("text/event-stream"), visit
            assert len(visit.emitted.pieces) > 1, visit


def test_without_a_key_vllm_is_not_asked(walked: Walk) -> None:
    doors = {key for key in walked.mounted if not walked.doors[key].is_clear}

    assert {key for key, _, _ in walked.keyless} == doors
    for key, response, was_asked in walked.keyless:
        assert response.status_code == 400, (key, response.status_code)
        assert response.json()["error"]["code"] == "client_key_missing", key
        assert not was_asked, key


def test_no_canary_is_anywhere(walked: Walk, strict_detector: Detector) -> None:
    opened = b"\n".join(v.answer.body for v in walked.valid if v.answer)
    places = {
        "wire": walked.wire,
        "log": walked.server.log.encode(),
        "traces": walked.traces,
        **{str(path): data for path, data in walked.written.items()},
    }
    leaks = [
        f"{place}: {leak}"
        for place, data in places.items()
        for leak in strict_detector.find(data)
    ]

    # There was something to find, and the search finds it where it is.
    assert strict_detector.find(opened)
    assert any(word.encode() in opened for word in CANARIES)
    assert "DEBUG" in walked.server.log
    assert walked.traces
    assert not leaks, "\n".join(leaks)


def test_nothing_that_vllm_computed_is_anywhere(walked: Walk) -> None:
    assert walked.numbers
    places = {"wire": walked.wire, "log": walked.server.log.encode()}
    places |= {"traces": walked.traces}
    leaks = [
        f"{place}: {number!r}"
        for place, data in places.items()
        for number in walked.numbers
        if number in data
    ]

    assert not leaks, "\n".join(leaks[:20])
