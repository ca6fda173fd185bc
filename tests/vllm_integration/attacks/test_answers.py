"""A relay that cuts, drops, repeats, swaps, exchanges and invents answers."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.errors import (
    DecryptionError,
    ForeignResponseError,
    MalformedFrameError,
    RedirectRefusedError,
    ResponseError,
    SequenceError,
    TrailingDataError,
    TruncatedError,
    UnexpectedParametersError,
    UnprotectedResponseError,
)
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.attacks.clients import CANARY, Outcome
from tests.vllm_integration.attacks.conftest import Between
from tests.vllm_integration.attacks.impostor import WORDS, chunk, completion
from tests.vllm_integration.attacks.relay import Move, Relay, Reply, Request

pytestmark = pytest.mark.vllm

DONE = b"data: [DONE]\n\n"
JSON = (("content-type", "application/json"),)
EVENTS = (("content-type", "text/event-stream; charset=utf-8"),)
_FRAME = re.compile(rb"sgop1\.([A-Za-z0-9+/]+={0,2})")
# The head's profile and container, behind flags, sequence number, version and suite.
_PROFILE_AT, _CONTAINER_AT = 7, 8

Change = Callable[[Reply], Reply]


def name(function: object) -> str:
    return getattr(function, "__name__", "")


def to_answers(change: Change) -> Move:
    """Return the move that does ``change`` to what is no key document."""

    def move(relay: Relay, request: Request) -> Reply:
        reply = relay.forward(request)
        return reply if request.is_for_a_document else change(reply)

    return move


def in_frame(event: bytes, at: int, change: Callable[[int], int]) -> bytes:
    """Return an event or body with one byte of its frame changed."""

    def changed(match: re.Match[bytes]) -> bytes:
        data = bytearray(base64.b64decode(match[1]))
        data[at] = change(data[at])
        return b"sgop1." + base64.b64encode(data)

    return _FRAME.sub(changed, event, count=1)


# Streams. A busy server puts several tokens into one event, so each has its own number.


def _with_each_number(
    between: Between, change: Callable[[list[bytes], int], list[bytes]], **also: Any
) -> Iterator[tuple[int, int, Outcome]]:
    """Yield a number, that of a stream's events, and what came of changing it so."""
    total = 0

    def move(reply: Reply) -> Reply:
        nonlocal total
        total = len(reply.events)
        changed = reply.with_events(change(reply.events, number))
        return replace(changed, **also)

    between.relay.move = to_answers(move)
    for number in itertools.count():
        outcome = between.client.ask(stream=True)
        if number >= total:
            assert number > 4
            return
        yield number, total, outcome


@pytest.mark.parametrize("is_cut", [False, True], ids=["ended", "broken-off"])
def test_stream_cut_behind_any_event_is_never_a_short_answer(
    between: Between, is_cut: bool
) -> None:
    for end, total, outcome in _with_each_number(
        between, lambda events, end: events[:end], is_cut=is_cut
    ):
        if end == total - 1 and not is_cut:  # [DONE] in the clear is a courtesy.
            assert outcome.is_the_truth()
        elif end == 0 and is_cut:  # Nothing of an answer: the library's own error.
            assert outcome.is_refused_with(httpx2.RemoteProtocolError)
        else:
            assert type(outcome.error) is TruncatedError, end


def test_stream_cut_before_any_event_is_a_named_error(between: Between) -> None:
    for start, total, outcome in _with_each_number(
        between, lambda events, start: events[start:]
    ):
        if start == 0:
            assert outcome.is_the_truth()
        else:
            is_last = start == total - 1
            expected = TruncatedError if is_last else SequenceError
            assert outcome.is_refused_with(expected), start


def test_stream_without_any_one_event_is_a_named_error(between: Between) -> None:
    for at, total, outcome in _with_each_number(
        between, lambda events, at: events[:at] + events[at + 1 :]
    ):
        if at == total - 1:
            assert outcome.is_the_truth()
        else:
            # What follows the final frame is [DONE], which comes too early then.
            is_final = at == total - 2
            expected = TruncatedError if is_final else SequenceError
            assert type(outcome.error) is expected, at


def test_stream_cut_inside_of_an_event_is_never_a_short_answer(
    between: Between,
) -> None:
    for part in (0.1, 0.3, 0.5, 0.7, 0.9):
        between.relay.move = to_answers(
            lambda reply, part=part: replace(
                reply, body=reply.body[: int(part * len(reply.body))]
            )
        )
        assert type(between.client.ask(stream=True).error) is TruncatedError


def event_doubled(reply: Reply) -> Reply:
    events = reply.events
    return reply.with_events([*events[:3], events[2], *events[3:]])


def first_event_doubled(reply: Reply) -> Reply:
    return reply.with_events([reply.events[0], *reply.events])


def neighbours_swapped(reply: Reply) -> Reply:
    first, one, two, *rest = reply.events
    return reply.with_events([first, two, one, *rest])


def final_event_doubled(reply: Reply) -> Reply:
    *events, final, done = reply.events
    return reply.with_events([*events, final, final, done])


def final_event_brought_forward(reply: Reply) -> Reply:
    *events, final, done = reply.events
    return reply.with_events([*events[:2], final, done])


def final_flag_set(reply: Reply) -> Reply:
    events = reply.events[:2]
    events[1] = in_frame(events[1], 0, lambda flags: flags | 2)
    return reply.with_events([*events, DONE])


def final_flag_taken_away(reply: Reply) -> Reply:
    events = reply.events
    events[-2] = in_frame(events[-2], 0, lambda flags: flags & ~2)
    return reply.with_events(events)


def sequence_number_changed(reply: Reply) -> Reply:
    # One event is left out, and the numbers close the gap.
    events = reply.events
    del events[1]
    events[1] = in_frame(events[1], 4, lambda number: number - 1)
    return reply.with_events(events)


def ciphertext_changed(reply: Reply) -> Reply:
    events = reply.events
    events[1] = in_frame(events[1], 20, lambda byte: byte ^ 1)
    return reply.with_events(events)


def profile_relabelled(reply: Reply) -> Reply:
    events = reply.events
    events[0] = in_frame(events[0], _PROFILE_AT, lambda profile: 3 - profile)
    return reply.with_events(events)


def container_relabelled(reply: Reply) -> Reply:
    events = reply.events
    events[0] = in_frame(events[0], _CONTAINER_AT, lambda container: 3 - container)
    return reply.with_events(events)


def clear_end_injected(reply: Reply) -> Reply:
    return reply.with_events([*reply.events[:2], DONE, *reply.events[2:]])


def clear_error_injected(reply: Reply) -> Reply:
    error = b'data: {"error": {"message": "Ask again in the clear."}}\n\n'
    return reply.with_events([*reply.events[:2], error, *reply.events[2:]])


def clear_stream(reply: Reply) -> Reply:
    return reply.with_events([chunk(WORDS), DONE])


def clear_end_only(reply: Reply) -> Reply:
    return reply.with_events([DONE])


def empty_stream(reply: Reply) -> Reply:
    return reply.with_events([])


def clear_body_in_place_of_a_stream(reply: Reply) -> Reply:
    return Reply(200, JSON, completion(WORDS))


def redirected(reply: Reply) -> Reply:
    return Reply(307, (("location", "http://127.0.0.1:9/v1/chat/completions"),), b"")


STREAMS: dict[Change, type[ResponseError]] = {
    event_doubled: SequenceError,
    first_event_doubled: SequenceError,
    neighbours_swapped: SequenceError,
    final_event_doubled: TrailingDataError,
    final_event_brought_forward: SequenceError,
    final_flag_set: DecryptionError,
    final_flag_taken_away: DecryptionError,
    sequence_number_changed: DecryptionError,
    ciphertext_changed: DecryptionError,
    profile_relabelled: UnexpectedParametersError,
    container_relabelled: UnexpectedParametersError,
    clear_end_injected: TruncatedError,
    clear_error_injected: TruncatedError,
    clear_stream: UnprotectedResponseError,
    clear_end_only: TruncatedError,
    empty_stream: TruncatedError,
    clear_body_in_place_of_a_stream: UnprotectedResponseError,
    redirected: RedirectRefusedError,
}


@pytest.mark.parametrize("change", STREAMS, ids=name)
def test_stream_is_refused_after(between: Between, change: Change) -> None:
    between.relay.move = to_answers(change)

    outcome = between.client.ask(stream=True)

    assert type(outcome.error) is STREAMS[change]
    assert b"The relay" not in outcome.body
    # The answer was whole already where something is behind it.
    assert (b"[DONE]" in outcome.body) == (change is final_event_doubled)


def clear_events_injected(reply: Reply) -> Reply:
    events = [part for event in reply.events for part in (chunk(WORDS), event)]
    return reply.with_events(events)


def comments_injected(reply: Reply) -> Reply:
    return reply.with_events([b": ping\n\n" + event for event in reply.events])


def readable_members_changed(reply: Reply) -> Reply:
    events = [
        event.replace(b'"tiny"', b'"huge"').replace(b'"index":0', b'"index":7')
        for event in reply.events
    ]
    return reply.with_events(events)


def status_changed(reply: Reply) -> Reply:
    return replace(reply, status=500)


def headers_added(reply: Reply) -> Reply:
    mark = (("x-output-protection", "clear"), ("x-should-retry", "true"))
    return replace(reply, headers=reply.headers + mark)


def server_key_header_changed(reply: Reply) -> Reply:
    key = (("x-server-public-key", "A" * 43 + "="),)
    return replace(reply, headers=reply.headers + key)


WITHOUT_EFFECT: tuple[Change, ...] = (
    clear_events_injected,
    comments_injected,
    readable_members_changed,
    status_changed,
    headers_added,
    server_key_header_changed,
)


@pytest.mark.parametrize("change", WITHOUT_EFFECT, ids=name)
def test_stream_is_what_it_was_after(between: Between, change: Change) -> None:
    between.relay.move = to_answers(change)

    assert between.client.ask(stream=True).is_the_truth()


# Unary answers.


@pytest.mark.parametrize("is_cut", [False, True], ids=["ended", "broken-off"])
def test_body_that_is_cut_is_never_an_answer(between: Between, is_cut: bool) -> None:
    for part in (0, 0.05, 0.2, 0.5, 0.9, 0.99, 1):
        between.relay.move = to_answers(
            lambda reply, part=part: replace(
                reply, body=reply.body[: int(part * len(reply.body))], is_cut=is_cut
            )
        )
        outcome = between.client.ask()

        if part == 1 and not is_cut:
            assert outcome.is_the_truth()
        elif is_cut:
            assert outcome.is_refused_with(httpx2.RemoteProtocolError)
        else:
            expected = (MalformedFrameError, UnprotectedResponseError)
            assert any(map(outcome.is_refused_with, expected)), part


def clear_body(reply: Reply) -> Reply:
    return Reply(200, JSON, completion(WORDS))


def clear_body_of_another_type(reply: Reply) -> Reply:
    return Reply(200, (("content-type", "text/plain"),), WORDS.encode())


def clear_opaque_body(reply: Reply) -> Reply:
    return Reply(200, (("content-type", "application/vnd.sgop1"),), completion(WORDS))


def no_content(reply: Reply) -> Reply:
    return Reply(204, (), b"")


def frame_changed(reply: Reply) -> Reply:
    return replace(reply, body=in_frame(reply.body, 300, lambda byte: byte ^ 1))


def frame_not_final(reply: Reply) -> Reply:
    return replace(reply, body=in_frame(reply.body, 0, lambda flags: flags & ~2))


def profile_of_a_body_relabelled(reply: Reply) -> Reply:
    return replace(reply, body=in_frame(reply.body, _PROFILE_AT, lambda it: 3 - it))


def client_hash_changed(reply: Reply) -> Reply:
    return replace(reply, body=in_frame(reply.body, 9, lambda byte: byte ^ 1))


BODIES: dict[Change, type[ResponseError]] = {
    clear_body: UnprotectedResponseError,
    clear_body_of_another_type: UnprotectedResponseError,
    clear_opaque_body: ResponseError,
    no_content: UnprotectedResponseError,
    redirected: RedirectRefusedError,
    frame_changed: ResponseError,
    frame_not_final: DecryptionError,
    profile_of_a_body_relabelled: UnexpectedParametersError,
    client_hash_changed: ForeignResponseError,
}


@pytest.mark.parametrize("change", BODIES, ids=name)
def test_body_is_refused_after(between: Between, change: Change) -> None:
    between.relay.move = to_answers(change)

    outcome = between.client.ask()

    assert outcome.body == b""
    assert isinstance(outcome.error, BODIES[change])


@pytest.mark.parametrize(
    "change", [status_changed, headers_added, server_key_header_changed], ids=name
)
def test_body_is_what_it_was_after(between: Between, change: Change) -> None:
    between.relay.move = to_answers(change)

    assert between.client.ask().is_the_truth()


def test_error_of_the_servers_is_not_taken_for_a_success(between: Between) -> None:
    between.relay.move = to_answers(lambda reply: replace(reply, status=200))

    outcome = between.client.ask(temperature=-1)

    assert outcome.is_status(400, mark=Mark.OPENED)


# Two answers.


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
def test_answer_to_an_earlier_request_is_refused(
    between: Between, stream: bool
) -> None:
    assert between.client.ask(stream=stream).is_the_truth()
    earlier = between.relay.replies[-1]
    between.relay.move = to_answers(lambda reply: earlier)

    outcome = between.client.ask(stream=stream)

    assert outcome.is_refused_with(ForeignResponseError)


@pytest.mark.parametrize("way", ["one event", "the rest", "every other"])
def test_events_of_two_answers_cannot_be_mixed(between: Between, way: str) -> None:
    assert between.client.ask(stream=True).is_the_truth()
    other = between.relay.replies[-1].events

    def mixed(reply: Reply) -> Reply:
        own = reply.events
        if way == "one event":
            own[2] = other[2]
        elif way == "the rest":
            own[2:] = other[2:]
        else:
            for at in range(1, min(len(own), len(other)) - 2, 2):
                own[at] = other[at]
        return reply.with_events(own)

    between.relay.move = to_answers(mixed)
    outcome = between.client.ask(stream=True)

    assert type(outcome.error) is DecryptionError
    assert b"[DONE]" not in outcome.body


def test_beginning_of_another_answer_is_refused(between: Between) -> None:
    assert between.client.ask(stream=True).is_the_truth()
    first = between.relay.replies[-1].events[0]
    between.relay.move = to_answers(
        lambda reply: reply.with_events([first, *reply.events[1:]])
    )

    outcome = between.client.ask(stream=True)

    assert outcome.is_refused_with(ForeignResponseError)


@pytest.mark.parametrize("status", [200, 400])
def test_request_reflected_is_no_answer(between: Between, status: int) -> None:
    def reflected(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return relay.forward(request)
        return Reply(status, JSON, request.body)

    between.relay.move = reflected
    outcome = between.client.ask()

    if status == 200:
        assert outcome.is_refused_with(UnprotectedResponseError)
    else:
        assert outcome.is_status(400, mark=Mark.UNAUTHENTICATED)


def test_request_reflected_in_an_event_is_no_answer(between: Between) -> None:
    def reflected(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return relay.forward(request)
        return Reply(200, EVENTS, b"data: " + request.body + b"\n\n" + DONE)

    between.relay.move = reflected

    outcome = between.client.ask(stream=True)

    assert outcome.is_refused_with(UnprotectedResponseError)


def test_sealed_text_given_a_frames_prefix_is_no_answer(between: Between) -> None:
    def relabelled(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return relay.forward(request)
        body = request.body.replace(b"sgop1-request.", b"sgop1.")
        body = body if body != request.body else completion("sgop1.AAAA")
        return Reply(200, JSON, body)

    between.relay.move = relabelled
    outcome = between.client.ask()

    assert isinstance(outcome.error, ResponseError)
    assert outcome.body == b""


def test_long_stream_arrives_whole_through_an_honest_relay(between: Between) -> None:
    """What all the others are measured by."""
    path, body = BY_NAME["story"].request("tiny", stream=True)

    outcome = between.client.send("POST", path, body)

    assert outcome.said == BY_NAME["story"].content
    assert between.client.ask().said == CANARY.content
