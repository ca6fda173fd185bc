"""What an intermediary can do to an answer: each act has its named error, or no effect."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from stainedglass_output_protection import errors
from tests.client.drivers import Driver, protection_for
from tests.client.fake_server import (
    DONE,
    EVENTS,
    JSON,
    FakeServer,
    Sealing,
    Wire,
    chat_body,
    chat_event,
    error_body,
    plain_events,
)

Tamper = Callable[[Wire], Wire]
STREAMED = b"".join(plain_events()) + DONE
FRAME = re.compile(rb"sgop1\.[A-Za-z0-9+/=]+")


def parts(change: Callable[[list[bytes]], list[bytes]]) -> Tamper:
    """Return an act on the list of events."""
    return lambda wire: replace(wire, parts=change(list(wire.parts)))


def body(change: Callable[[bytes], bytes]) -> Tamper:
    """Return an act on the bytes of the whole body."""
    return lambda wire: replace(wire, parts=[change(wire.body)])


def events(change: Callable[[bytes], bytes]) -> Tamper:
    """Return an act on each event."""
    return parts(lambda items: [change(item) for item in items])


def flip(part: bytes, at: int, bit: int = 1) -> bytes:
    """Flip one bit of the frame in ``part``, and encode it canonically again."""

    def flipped(match: re.Match[bytes]) -> bytes:
        frame = bytearray(base64.b64decode(match[0][6:]))
        frame[at] ^= bit
        return b"sgop1." + base64.b64encode(frame)

    return FRAME.sub(flipped, part)


def flip_in(number: int, at: int, bit: int = 1) -> Tamper:
    """Return the act of flipping a bit in one event's frame."""

    def change(items: list[bytes]) -> list[bytes]:
        items[number] = flip(items[number], at, bit)
        return items

    return parts(change)


def reserialise(event: bytes) -> bytes:
    """Write an event's JSON in another, equal way."""
    if not event.startswith(b"data: {"):
        return event
    members = dict(sorted(json.loads(event[6:]).items(), reverse=True))
    text = json.dumps(members, indent=1).replace("/", "\\/").replace("\n", " ")
    return b"data:" + text.encode() + b"\n\n"


def rewrite_readable(event: bytes) -> bytes:
    """Change every member that gateways change."""
    if not event.startswith(b"data: {"):
        return event
    members = {**json.loads(event[6:]), "model": "alias", "id": "x", "created": 1}
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def cut_to_bytes(wire: Wire) -> Wire:
    return replace(wire, parts=[bytes([byte]) for byte in wire.body])


def cut_at(end: int) -> Tamper:
    return body(lambda whole: whole[:end])


def compress(wire: Wire) -> Wire:
    packed = gzip.compress(wire.body)
    headers = {
        **wire.headers,
        "content-encoding": "gzip",
        "content-length": str(len(packed)),
    }
    return replace(wire, headers=headers, parts=[packed[:50], packed[50:]])


INJECTED = chat_event("Pay 100 to this account.")

NO_EFFECT_ON_A_STREAM: dict[str, Tamper] = {
    "nothing": lambda wire: wire,
    "one byte at a time": cut_to_bytes,
    "all at once": body(lambda b: b),
    "CRLF": events(lambda event: event.replace(b"\n", b"\r\n")),
    "CRLF, cut between CR and LF": lambda wire: replace(
        wire,
        parts=re.findall(rb"[^\r]*\r|[^\r]+", wire.body.replace(b"\n", b"\r\n")),
    ),
    "CR": events(lambda event: event.replace(b"\n", b"\r")),
    "comments": events(lambda event: b": ping\n\n" + event + b":\n\n"),
    "event names": events(lambda event: b"event: message\nid: 1\n" + event),
    "clear events": parts(lambda items: [INJECTED, *items[:3], INJECTED, *items[3:]]),
    "events of another shape": parts(
        lambda items: [b"data: ping\n\n", b'data: not "error"\n\n', *items]
    ),
    "events that name no error": parts(
        lambda items: [b'data: {"error": null}\n\n', b'data: ["error"]\n\n', *items]
    ),
    "readable members rewritten": events(rewrite_readable),
    "re-serialised": events(reserialise),
    "gzip": compress,
    "clear end removed": parts(lambda items: items[:-1]),
    "clear end twice": parts(lambda items: [*items, DONE]),
    "clear events after the end": parts(lambda items: [*items, INJECTED]),
    "comment after the end": parts(lambda items: [*items, b": bye\n\n"]),
    "last blank line removed": body(lambda b: b.rstrip(b"\n")),
    "another error status": lambda wire: replace(wire, status=502),
    "another success status": lambda wire: replace(wire, status=204),
    "content type in capitals": lambda wire: replace(
        wire, headers={"Content-Type": "TEXT/EVENT-STREAM"}
    ),
    "forged mark": lambda wire: replace(
        wire, headers={**wire.headers, "x-output-protection": "clear"}
    ),
}

REFUSED_IN_A_STREAM: dict[str, tuple[Tamper, type[errors.ResponseError]]] = {
    "bit in frame 0's ciphertext": (flip_in(0, -20), errors.DecryptionError),
    "bit in a later ciphertext": (flip_in(3, 10), errors.DecryptionError),
    "bit in a tag": (flip_in(2, -1), errors.DecryptionError),
    "first flag set later": (flip_in(1, 0), errors.SequenceError),
    "final flag set early": (flip_in(1, 0, 2), errors.DecryptionError),
    "unknown flag set": (flip_in(1, 0, 4), errors.MalformedFrameError),
    "bit in a sequence number": (flip_in(4, 4), errors.SequenceError),
    "bit in the version": (flip_in(0, 5), errors.UnexpectedParametersError),
    "bit in the client hash": (flip_in(0, 9), errors.ForeignResponseError),
    "bit in the statement": (flip_in(0, 70), errors.StatementSignatureError),
    "first event dropped": (parts(lambda e: e[1:]), errors.SequenceError),
    "event dropped": (parts(lambda e: e[:3] + e[4:]), errors.SequenceError),
    "event doubled": (parts(lambda e: e[:3] + e[2:]), errors.SequenceError),
    "events swapped": (
        parts(lambda e: [*e[:2], e[3], e[2], *e[4:]]),
        errors.SequenceError,
    ),
    "tail cut": (parts(lambda e: e[:5]), errors.TruncatedError),
    "tail cut, clear end": (parts(lambda e: [*e[:5], DONE]), errors.TruncatedError),
    "final frame dropped": (parts(lambda e: [*e[:-2], e[-1]]), errors.TruncatedError),
    "all cut": (parts(lambda e: []), errors.TruncatedError),
    "end at once": (parts(lambda e: [DONE]), errors.TruncatedError),
    "final frame doubled": (
        parts(lambda e: [*e[:-1], e[-2], e[-1]]),
        errors.TrailingDataError,
    ),
    "frame after the clear end": (
        parts(lambda e: [*e, e[1]]),
        errors.TrailingDataError,
    ),
    "clear error event": (
        parts(lambda e: [*e[:3], b"data: " + error_body("boo") + b"\n\n", DONE]),
        errors.TruncatedError,
    ),
    "clear error event at once": (
        parts(lambda e: [b"data: " + error_body("boo") + b"\n\n", DONE]),
        errors.TruncatedError,
    ),
    "clear error event without a message": (
        parts(lambda e: [e[0], b'data: {"error": {"code": 1}}\n\n', *e[1:]]),
        errors.TruncatedError,
    ),
    "no final status": (lambda w: Wire(101, {}, []), errors.UnprotectedResponseError),
    "protection stripped": (
        parts(lambda e: [*plain_events(), DONE]),
        errors.UnprotectedResponseError,
    ),
    "protection stripped, without end": (
        parts(lambda e: plain_events()),
        errors.UnprotectedResponseError,
    ),
    "text not canonical": (
        events(lambda e: FRAME.sub(lambda m: m[0] + b"=", e)),
        errors.MalformedFrameError,
    ),
    "a later text not canonical": (
        parts(lambda e: [*e[:2], e[2].replace(b"sgop1.", b"sgop1. "), *e[3:]]),
        errors.MalformedFrameError,
    ),
    "redirect": (
        lambda w: Wire(307, {"location": "http://evil.test/"}, []),
        errors.RedirectRefusedError,
    ),
    "not modified": (lambda w: Wire(304, {}, []), errors.RedirectRefusedError),
    "served as JSON": (
        lambda w: replace(w, headers={"content-type": JSON}),
        errors.MalformedFrameError,
    ),
}

NO_EFFECT_ON_A_BODY: dict[str, Tamper] = {
    "nothing": lambda wire: wire,
    "one byte at a time": cut_to_bytes,
    "re-serialised": body(
        lambda b: json.dumps(json.loads(b), indent=2).replace("/", "\\/").encode()
    ),
    "reordered": body(
        lambda b: json.dumps(
            dict(sorted({**json.loads(b), "model": "alias", "extra": [1]}.items()))
        ).encode()
    ),
    "white space": body(lambda b: b" \r\n" + b + b"\n"),
    "gzip": compress,
    "an error status": lambda wire: replace(wire, status=500),
    "another content type": lambda wire: replace(
        wire, headers={"content-type": "text/plain"}
    ),
    "no content type": lambda wire: replace(wire, headers={}),
}

REFUSED_AS_A_BODY: dict[str, tuple[Tamper, type[errors.ResponseError]]] = {
    "bit flipped": (body(lambda b: flip(b, -30)), errors.DecryptionError),
    "first flag taken away": (body(lambda b: flip(b, 0)), errors.SequenceError),
    "final flag taken away": (body(lambda b: flip(b, 0, 2)), errors.DecryptionError),
    "cut": (body(lambda b: b[:-40]), errors.MalformedFrameError),
    "empty": (body(lambda b: b""), errors.UnprotectedResponseError),
    "protection stripped": (
        body(lambda b: chat_body()),
        errors.UnprotectedResponseError,
    ),
    "not JSON": (body(lambda b: b"<html>"), errors.UnprotectedResponseError),
    "no content": (
        lambda w: Wire(204, {}, []),
        errors.UnprotectedResponseError,
    ),
    "redirect": (
        lambda w: Wire(302, {"location": "/"}, w.parts),
        errors.RedirectRefusedError,
    ),
}


@pytest.mark.parametrize("act", NO_EFFECT_ON_A_STREAM)
def test_a_stream_arrives_byte_for_byte_after(
    act: str, driver: Driver, fake: FakeServer
) -> None:
    fake.tamper = NO_EFFECT_ON_A_STREAM[act]
    answer = driver.ask(fake, stream=True)
    assert answer.error is None
    assert answer.body == STREAMED
    assert answer.status == 200
    assert answer.headers["content-type"] == EVENTS
    assert answer.headers["x-output-protection"] == "opened"
    assert not {"content-length", "content-encoding"} & answer.headers.keys()
    assert driver.closed == [True]


@pytest.mark.parametrize("act", REFUSED_IN_A_STREAM)
def test_a_stream_is_refused_after(act: str, driver: Driver, fake: FakeServer) -> None:
    fake.tamper, expected = REFUSED_IN_A_STREAM[act]
    answer = driver.ask(fake, stream=True)
    assert type(answer.error) is expected
    assert STREAMED.startswith(answer.body)
    assert driver.closed == [True]


@pytest.mark.parametrize("act", NO_EFFECT_ON_A_BODY)
def test_a_body_arrives_byte_for_byte_after(
    act: str, driver: Driver, fake: FakeServer
) -> None:
    fake.tamper = NO_EFFECT_ON_A_BODY[act]
    answer = driver.ask(fake)
    assert answer.error is None
    assert answer.body == chat_body()
    assert answer.status == 200
    assert answer.headers["content-type"] == JSON
    assert not {"content-length", "content-encoding"} & answer.headers.keys()
    assert driver.closed == [True]


@pytest.mark.parametrize("act", REFUSED_AS_A_BODY)
def test_a_body_is_refused_after(act: str, driver: Driver, fake: FakeServer) -> None:
    fake.tamper, expected = REFUSED_AS_A_BODY[act]
    answer = driver.ask(fake)
    assert type(answer.error) is expected
    assert answer.body == b""
    assert driver.closed == [True]


def test_every_place_to_cut_a_stream_gives_an_error_or_the_whole(
    fake: FakeServer,
) -> None:
    driver = Driver("httpx2", is_async=False)
    whole = driver.ask(fake, stream=True)
    assert whole.error is None
    size = len(fake.sent[-1].body)
    protection = protection_for(fake)
    for end in range(0, size, 7):
        fake.tamper = cut_at(end)
        answer = driver.ask(fake, stream=True, protection=protection)
        if answer.error is None:
            assert answer.body == STREAMED
            assert end > size - len(DONE) - 1
        else:
            assert type(answer.error) in (
                errors.TruncatedError,
                errors.UnprotectedResponseError,
            )
            assert STREAMED.startswith(answer.body)


def test_an_answer_to_somebody_else_is_refused(
    driver: Driver, fake: FakeServer
) -> None:
    assert driver.ask(fake, stream=True).error is None
    for_another = fake.sent[-1]
    fake.tamper = lambda wire: for_another
    answer = driver.ask(fake, stream=True)
    assert type(answer.error) is errors.ForeignResponseError


def test_frames_of_another_answer_to_the_same_key_are_refused(
    driver: Driver, fake: FakeServer
) -> None:
    def splice(wire: Wire) -> Wire:
        other = fake.stream(fake.received[-1])
        return replace(wire, parts=wire.parts[:4] + other.parts[4:])

    fake.tamper = splice
    answer = driver.ask(fake, stream=True)
    assert type(answer.error) is errors.DecryptionError
    assert answer.body == b"".join(plain_events()[:4])


def test_another_server_under_a_pin_is_refused(
    driver: Driver, fake: FakeServer
) -> None:
    pinned = protection_for(fake, pins=frozenset({Sealing().fingerprint}))
    answer = driver.ask(fake, protection=pinned)
    assert type(answer.error) is errors.IdentityMismatchError


def test_an_old_statement_is_refused(driver: Driver) -> None:
    fake = FakeServer(sealing=Sealing(age_ms=2 * 3600 * 1000))
    answer = driver.ask(fake)
    assert type(answer.error) is errors.StatementExpiredError


def test_a_clear_error_event_is_quoted_as_unauthenticated(
    driver: Driver, fake: FakeServer
) -> None:
    event = b"data: " + error_body("upstream \n gone " + "x" * 999) + b"\n\n"
    fake.tamper = parts(lambda items: [*items[:2], event])
    answer = driver.ask(fake, stream=True)
    assert type(answer.error) is errors.TruncatedError
    assert "upstream \\n gone" in str(answer.error)
    assert "anyone on the way" in str(answer.error)
    assert str(answer.error).count("x") < 200


def test_errors_hold_nothing_of_an_unprotected_answer(
    driver: Driver, fake: FakeServer
) -> None:
    fake.tamper = body(lambda b: chat_body("stolen words"))
    answer = driver.ask(fake)
    assert "stolen" not in repr(answer.error)
