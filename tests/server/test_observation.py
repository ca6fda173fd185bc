"""What is counted and logged of each request: its end, its sizes, and no word of it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from stainedglass_output_protection.server.observation import REQUEST_LOGGER
from stainedglass_output_protection.server.observer import observe_with
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.outcomes import (
    CLEAR,
    CUT,
    DISCARDED,
    FAILED,
    REFUSED,
    SEALED,
)
from stainedglass_output_protection.server.policy import KeylessPolicy
from stainedglass_output_protection.server.sealed_authorization import (
    SealedAuthorizationMiddleware,
)
from tests.asgi_driver import CHAT, answering, body_of, make_ring, protect
from tests.rings import own_ring
from tests.server.asking import ANSWER, CANARY, JSON, Recorder, ask, fresh
from tests.server.observing import (
    STREAM,
    UNKNOWN,
    Kept,
    observed,
    raising,
    raising_later,
    raising_when_it_leaves,
    seeing_it_leave,
    stopping_short,
)
from tests.server.sealing import sealed

_, KEY = fresh()
UNARY = answering(ANSWER, content_type=JSON)
KEYED: dict[str, Any] = {"header_keys": [KEY]}
LINE = re.compile(
    r"request id=[0-9a-f]{32} route=\S+ status=(\d{3}|-) outcome=\w+ code=[\w-]+ "
    r"profile=(sealed|output|-) key=([0-9a-f]{16}|-) stream=(true|false) "
    r"bytes_in=\d+ bytes_out=\d+ seconds=\d+\.\d{3}"
)


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.name == REQUEST_LOGGER]


@pytest.mark.parametrize(
    ("app", "asked", "options", "outcome", "code", "status"),
    [
        (STREAM, KEYED, {}, SEALED, "", 200),
        (UNARY, KEYED, {}, SEALED, "", 200),
        (answering(ANSWER, content_type=JSON, status=400), KEYED, {}, SEALED, "", 400),
        (UNARY, {}, {"keyless": KeylessPolicy.DISCARD}, DISCARDED, "", 200),
        (UNARY, {}, {"keyless": KeylessPolicy.ALLOW}, CLEAR, "", 200),
        (UNARY, {}, {}, REFUSED, "client_key_missing", 400),
        (UNARY, {"header_keys": ["x"]}, {}, REFUSED, "client_key_malformed", 400),
        (
            UNARY,
            KEYED,
            {"requires_sealed": True},
            REFUSED,
            "sealed_request_required",
            400,
        ),
        (UNARY, {**KEYED, "path": UNKNOWN}, {}, REFUSED, "route_not_protected", 403),
        (raising, KEYED, {}, FAILED, "", 500),
        (raising_later, KEYED, {}, FAILED, "", 200),
        (stopping_short, KEYED, {}, FAILED, "", 200),
        (answering(b"", status=503), KEYED, {}, FAILED, "", 503),
        (seeing_it_leave, {**KEYED, "leaves": True}, {}, CUT, "", 200),
        (raising_when_it_leaves, {**KEYED, "leaves": True}, {}, CUT, "", 200),
        (UNARY, {**KEYED, "is_cut": True}, {}, CUT, "", 0),
    ],
)
async def test_every_end_has_its_outcome_and_one_line(
    caplog: pytest.LogCaptureFixture,
    app: Any,
    asked: dict[str, Any],
    options: dict[str, Any],
    outcome: str,
    code: str,
    status: int,
) -> None:
    kept = Kept()
    sent = await ask(observed(app, kept, **options), b'{"a":1}', **asked)
    (request,) = kept.ended
    assert kept.began == 1
    assert (request.outcome, request.code, request.status) == (outcome, code, status)
    assert request.bytes_out == len(body_of(sent))
    assert request.bytes_in == (7 if code != "route_not_protected" else 0)
    (line,) = lines(caplog)
    assert LINE.fullmatch(line)
    assert f" outcome={outcome} code={code or '-'} " in line
    assert line.startswith(f"request id={request.request_id} route=")
    assert CANARY not in caplog.text


async def test_the_answer_s_key_and_profile_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept, ring = Kept(), make_ring()
    target = observed(STREAM, kept, ring)
    made = sealed(ring)
    await ask(target, made.body)
    await ask(target, made.body)
    await ask(target, b"{}", **KEYED)
    first, again, output = kept.ended
    key_id = made.message.key_id.hex()
    assert (first.profile, first.key_id, first.is_stream) == ("sealed", key_id, True)
    assert (again.outcome, again.code, again.status) == (
        *(REFUSED, "request_replayed"),
        425,
    )
    assert (output.profile, output.key_id) == ("output", key_id)
    assert first.seal_s is not None
    assert first.seal_s > 0
    assert len({item.request_id for item in kept.ended}) == 3
    assert len(lines(caplog)) == 3


async def test_a_server_without_keys_is_told_apart_from_a_failing_application() -> None:
    kept = Kept()
    await ask(observed(UNARY, kept, own_ring()), b"{}", **KEYED)
    (request,) = kept.ended
    assert (request.outcome, request.code, request.status) == (
        *(REFUSED, "keys_unavailable"),
        503,
    )


async def test_a_cancelled_request_is_cut_and_ends() -> None:
    kept, started = Kept(), asyncio.Event()

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        await stopping_short(scope, receive, send)
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(ask(observed(waiting, kept), b"{}", **KEYED))
    await started.wait()
    assert kept.ended == []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [item.outcome for item in kept.ended] == [CUT]


@pytest.mark.parametrize(
    "path",
    ["/x\nERROR forged line", "/x\r\x1b[2J", "/x id=0 outcome=sealed", "/é" * 500],
)
async def test_nothing_that_a_client_chose_is_in_the_log(
    caplog: pytest.LogCaptureFixture, path: str
) -> None:
    kept = Kept()
    headers = [(b"x-request-id", b"forged\nline"), (b"user-agent", b"forged")]
    body = b'{"model":"forged\\nline","messages":[{"content":"forged"}]}'
    target = observed(Recorder(), kept)
    await ask(target, body, path=path, headers=headers, **KEYED)
    await ask(target, body, headers=headers, **KEYED)
    assert [item.route for item in kept.ended] == ["other", CHAT]
    assert len(lines(caplog)) == 2
    assert all(LINE.fullmatch(line) for line in lines(caplog))
    said = "".join(it.getMessage() for it in caplog.records)
    assert "is in no table" in said
    assert not re.search(r"[\n\r\x1b]|forged|/x|/é", said)


async def test_unknown_routes_fill_neither_log_nor_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Kept()
    target = observed(UNARY, kept)
    for number in range(300):
        await ask(target, b"{}", path=f"/made/up/{number}", **KEYED)
    assert {item.route for item in kept.ended} == {"other"}
    hints = [it for it in caplog.records if "is in no table" in it.getMessage()]
    assert len(hints) == 1


@pytest.mark.parametrize("path", ["/health", "/metrics", "/v1/models"])
async def test_clear_routes_and_our_own_are_not_counted(path: str) -> None:
    kept = Kept()
    target = observed(UNARY, kept)
    await ask(target, path=path, method="GET")
    await ask(target, path="/.well-known/output-protection", method="GET")
    await ask(target, path="/.well-known/output-protection/ready", method="GET")
    assert kept.began == 0


async def test_the_lines_can_be_switched_off_and_the_counting_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Kept()
    caplog.set_level(logging.WARNING, logger=REQUEST_LOGGER)
    await ask(observed(UNARY, kept), b"{}", **KEYED)
    assert lines(caplog) == []
    assert len(kept.ended) == 1


async def test_what_is_refused_in_front_of_authentication_is_told_once() -> None:
    kept, ring = Kept(), make_ring()
    inside = observed(UNARY, kept, ring, requires_sealed=True)
    target = SealedAuthorizationMiddleware(
        inside, Options(), ring_of=lambda scope: ring, observer=kept
    )
    other = sealed(make_ring())
    await ask(target, other.body)
    assert [item.code for item in kept.ended] == ["key_unknown"]
    await ask(target, sealed(ring, authorization="Bearer x").body)
    assert [item.outcome for item in kept.ended] == [REFUSED, SEALED]


class Broken(Kept):
    """Cannot write any more."""

    def request_began(self) -> None:
        raise OSError(28, "No space left on device")

    def request_ended(self, request: Any) -> None:
        raise OSError(28, "No space left on device")


async def test_a_failing_observer_costs_no_answer_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = observed(STREAM, Broken())
    for _ in range(3):
        sent = await ask(target, b"{}", **KEYED)
        assert sent[0]["status"] == 200
        assert body_of(sent).count(b"sgop1.") > 50
    said = [it for it in caplog.records if it.levelno >= logging.ERROR]
    assert len(said) == 1
    assert "No space left" in said[0].getMessage()


@pytest.fixture
def process_observer() -> Iterator[Kept]:
    """The observer of all that were given none."""
    kept = Kept()
    observe_with(kept)
    yield kept
    observe_with(None)


async def test_the_process_s_observer_is_told_of_all(process_observer: Kept) -> None:
    await ask(protect(UNARY), b"{}", **KEYED)
    assert [item.outcome for item in process_observer.ended] == [SEALED]
    assert process_observer.rotations == [(1, False)]
    assert process_observer.keys[-1].live == 1
