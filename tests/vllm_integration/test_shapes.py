"""Every request shape: what the client opens is, byte for byte, what vLLM emitted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stainedglass_output_protection.client.verdict import Mark
from tests.vllm_integration.conftest import Answers, Identity
from tests.vllm_integration.envelopes import check, objects_of
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import MODEL_PATH, ROOT, Server
from tests.vllm_integration.shapes import ANSWERED, CHAT, ECHOED, REFUSED, Shape

pytestmark = pytest.mark.vllm

SHAPES = (*ANSWERED, *REFUSED)
_EVENT_STREAM = "text/event-stream; charset=utf-8"


def _is_streamed(shape: Shape) -> bool:
    return shape.is_stream and shape.status == 200


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_status_type_and_body_are_those_that_vllm_emitted(
    shape: Shape, answers: Answers, main_server: Server, identity: Identity
) -> None:
    answer = answers[shape]

    emitted = main_server.emitted(answer.test_id)
    assert (answer.status, answer.content_type) == (
        emitted.status,
        emitted.content_type,
    )
    assert answer.body == emitted.body
    assert emitted.body
    assert answer.status == shape.status, answer.body
    expected_type = _EVENT_STREAM if _is_streamed(shape) else "application/json"
    assert answer.content_type == expected_type
    assert answer.verdict.mark is Mark.OPENED
    assert answer.verdict.identity == identity.fingerprint


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_wire_shows_readable_members_only(shape: Shape, answers: Answers) -> None:
    wire = answers[shape].wire

    assert wire.status == shape.status
    assert wire.headers["cache-control"] == "no-store"
    assert "x-server-public-key" in wire.headers["access-control-expose-headers"]
    assert (wire.headers["content-type"] == _EVENT_STREAM) == _is_streamed(shape)
    frames = [
        check(item, shape.path, streamed=shape.is_stream) for item in objects_of(wire)
    ]
    assert all(count <= 1 for count in frames)
    assert sum(frames) >= 1


def test_wire_holds_no_secret_in_any_form(answers: Answers) -> None:
    words_of_errors = Detector(MODEL_PATH, [ECHOED])
    detector = Detector(MODEL_PATH)

    for shape in SHAPES:
        wire = bytes(answers[shape].wire.body)
        assert not detector.find(wire), shape.name
        assert not words_of_errors.find(wire), shape.name


def test_errors_that_echo_the_request_would_have_been_found(answers: Answers) -> None:
    opened = b"".join(answers[shape].body for shape in REFUSED)

    assert Detector(MODEL_PATH, [ECHOED]).find(opened)


def test_streams_keep_their_number_of_events(
    answers: Answers, main_server: Server
) -> None:
    story = next(shape for shape in ANSWERED if shape.name == "story-streamed")
    answer = answers[story]

    emitted = main_server.emitted(answer.test_id)
    # The final frame has an event of its own beside the clear [DONE].
    assert len(answer.wire.events) == emitted.body.count(b"data: ") + 1
    assert len(emitted.pieces) > 300


def test_envelopes_are_valid_by_vllms_own_models(
    answers: Answers, tmp_path: Path
) -> None:
    path = tmp_path / "envelopes.jsonl"
    with path.open("w", encoding="ascii") as file:
        for shape in SHAPES:
            answer = answers[shape]
            for envelope in objects_of(answer.wire):
                if "sealed" in envelope:
                    continue  # vLLM's own error is not of its model here.
                model = "chat" if shape.path == CHAT else "completions"
                model += " streamed" if shape.is_stream else ""
                if "error" in envelope:
                    model = "error"
                item = {"shape": shape.name, "model": model, "object": envelope}
                file.write(json.dumps(item) + "\n")

    result = subprocess.run(
        [sys.executable, "-m", "tests.vllm_integration.validate_with_vllm", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
