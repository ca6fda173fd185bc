"""Container ``opaque``: what it shows, when it is used, and what a client makes of it."""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stainedglass_output_protection import errors
from stainedglass_output_protection.client.exchange import Report
from stainedglass_output_protection.client.httpx2_binding import (
    AsyncProtectedTransport,
)
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.request import Request
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.protocol.constants import (
    MAX_BODY,
    OPAQUE_MEDIA_TYPE,
    PROFILE_OUTPUT,
    PROFILE_SEALED,
)
from stainedglass_output_protection.server.clock import unix_ms
from tests.asgi_driver import (
    CHAT,
    ASGIApp,
    Message,
    Opened,
    answering,
    body_of,
    header_of,
    make_ring,
    protect,
)
from tests.server.asking import ANSWER, CANARY, JSON, ask, fresh

PAIR, KEY = fresh()
RING = make_ring()
ASKED = [(b"accept", OPAQUE_MEDIA_TYPE.encode())]
EVENTS = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"id":"c","choices":[],"usage":{"total_tokens":3}}\n\n'
Parts = list[bytes]


def chunk(number: int) -> bytes:
    return (
        'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,'
        '"model":"tiny","choices":[{"index":0,"delta":{"content":"'
        f'{CANARY} {number}"}},"finish_reason":null}}]}}\n\n'
    ).encode()


def frames_of(wire: bytes) -> list[bytes]:
    """Return the frames of a body, by the page: each stands behind its length."""
    frames = []
    while wire:
        (size,) = struct.unpack(">I", wire[:4])
        assert size <= len(wire) - 4
        frames.append(wire[4 : 4 + size])
        wire = wire[4 + size :]
    return frames


async def opaque(*pieces: bytes, path: str = CHAT, **answer: Any) -> list[Message]:
    """Ask for container opaque; return what was sent, in which nothing may be read."""
    target = protect(answering(*pieces, **answer), RING)
    sent = await ask(target, b"{}", path=path, header_keys=[KEY], headers=ASKED)
    assert header_of(sent, b"content-type") == [OPAQUE_MEDIA_TYPE.encode()]
    wire = body_of(sent)
    for word in (CANARY.encode(), b"sgop1", b"data:", b"tiny", b"chatcmpl", b"{"):
        # One byte may be there by chance.
        assert len(word) == 1 or word not in wire
    return sent


@pytest.mark.parametrize("path", [CHAT, "/tokenize", "/v1/embeddings", "/v1/messages"])
async def test_a_body_is_one_frame_on_every_route(path: str) -> None:
    sent = await opaque(ANSWER, content_type=JSON, path=path)
    assert len(frames_of(body_of(sent))) == 1
    assert header_of(sent, b"content-length") == [str(len(body_of(sent))).encode()]
    opened = Opened(sent, PAIR)
    assert opened.is_complete
    assert (opened.body, opened.content_type, opened.status) == (ANSWER, JSON, 200)


async def test_an_error_keeps_its_status_and_hides_its_words() -> None:
    body = json.dumps({"error": {"message": CANARY, "code": 400}}).encode()
    sent = await opaque(body, content_type=JSON, status=400)
    assert sent[0]["status"] == 400
    opened = Opened(sent, PAIR)
    assert (opened.body, opened.status) == (body, 400)


async def test_each_event_of_a_stream_has_a_frame_when_it_comes() -> None:
    events = [chunk(number) for number in range(5)]
    sent = await opaque(*events, USAGE, DONE)
    per_message = [len(frames_of(part["body"])) for part in sent[1:]]
    # The end is known when the application has ended its body.
    assert per_message == [1, 1, 1, 1, 1, 1, 1]
    opened = Opened(sent, PAIR)
    assert opened.is_complete
    assert opened.payloads == [*events, USAGE, DONE]
    assert opened.content_type == EVENTS


async def test_a_comment_is_a_frame_without_words() -> None:
    sent = await opaque(b": ping " + CANARY.encode() + b"\n\n", chunk(0), DONE)
    assert len(sent[1]["body"]) > 4
    opened = Opened(sent, PAIR)
    assert opened.payloads == [b"", chunk(0), DONE]


async def test_events_of_one_size_are_frames_of_one_size() -> None:
    sent = await opaque(*[chunk(number) for number in range(50)], DONE)
    sizes = {len(frame) for frame in frames_of(body_of(sent))[1:-1]}
    assert len(sizes) == 1


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
async def test_the_application_may_cut_its_bytes_anywhere(size: int) -> None:
    whole = b"".join([chunk(0), b": c\n\n", chunk(1), USAGE, DONE])
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    opened = Opened(await opaque(*pieces), PAIR)
    assert opened.is_complete
    assert opened.body == whole.replace(b": c\n\n", b"")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/octet-stream", bytes(range(256)) * 9),
        ("text/plain; charset=utf-8", CANARY.encode()),
        ("application/x-subrip", CANARY.encode()),
        ("application/json-seq", b"{}"),
        ("text/plain", b""),
    ],
)
async def test_a_body_that_is_neither_json_nor_events_comes_so_unasked(
    content_type: str, body: bytes
) -> None:
    headers = [(b"metadata", b'{"shape":[1]}')]
    app = answering(body, content_type=content_type, headers=headers)
    sent = await ask(protect(app), b"{}", header_keys=[KEY], path="/v1/embeddings")
    assert header_of(sent, b"content-type") == [OPAQUE_MEDIA_TYPE.encode()]
    assert header_of(sent, b"metadata") == [b'{"shape":[1]}']
    assert CANARY.encode() not in body_of(sent)
    opened = Opened(sent, PAIR)
    assert opened.is_complete
    assert (opened.body, opened.content_type) == (body, content_type)


@pytest.mark.parametrize("content_type", [JSON, "application/problem+json", EVENTS])
async def test_json_and_events_come_in_fields_unless_asked(content_type: str) -> None:
    app = answering(DONE, content_type=content_type)
    sent = await ask(protect(app), b"{}", header_keys=[KEY])
    assert header_of(sent, b"content-type") != [OPAQUE_MEDIA_TYPE.encode()]
    assert b"sgop1." in body_of(sent)


@pytest.mark.parametrize(
    ("accept", "is_asked"),
    [
        ([b"application/vnd.sgop1"], True),
        ([b"Application/VND.SGOP1"], True),
        ([b"text/event-stream, application/vnd.sgop1"], True),
        ([b"application/vnd.sgop1,*/*;q=0.1"], True),
        ([b"application/json", b" application/vnd.sgop1 "], True),
        ([], False),
        ([b"*/*"], False),
        ([b"application/*"], False),
        ([b"application/vnd.sgop10"], False),
        ([b"application/vnd.sgop1+json"], False),
        ([b"application/vnd.sgop1;q=0"], False),
        ([b"\xff"], False),
    ],
)
async def test_it_is_asked_for_by_its_name(accept: list[bytes], is_asked: bool) -> None:
    headers = [(b"accept", value) for value in accept]
    target = protect(answering(ANSWER, content_type=JSON))
    sent = await ask(target, b"{}", header_keys=[KEY], headers=headers)
    is_opaque = header_of(sent, b"content-type") == [OPAQUE_MEDIA_TYPE.encode()]
    assert is_opaque is is_asked
    assert Opened(sent, PAIR).body == ANSWER


def failing(*pieces: bytes) -> Any:
    """Return an application that raises in the middle of a stream."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", EVENTS.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        for body in pieces:
            message = {"type": "http.response.body", "body": body, "more_body": True}
            await send(message)
        raise RuntimeError(CANARY)

    return app


OPENAI_ERROR = {"message", "type", "param", "code"}


@pytest.mark.parametrize("headers", [[], ASKED])
@pytest.mark.parametrize(
    ("path", "name", "ends"),
    [
        (CHAT, None, DONE),
        ("/v1/completions", None, DONE),
        ("/v1/responses", "error", b""),
        ("/v1/messages", "error", b""),
        ("/v1/audio/transcriptions", None, DONE),
    ],
)
async def test_a_failure_in_a_stream_is_a_sealed_event_of_the_route_s_own_shape(
    path: str,
    name: str | None,
    ends: bytes,
    headers: list[tuple[bytes, bytes]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = protect(failing(chunk(0), b'data: {"half'))
    body = b'{"store":false}'
    sent = await ask(target, body, path=path, header_keys=[KEY], headers=headers)
    opened = Opened(sent, PAIR)
    assert opened.is_complete
    assert opened.body.startswith(chunk(0))
    rest = opened.body.removeprefix(chunk(0))
    assert rest.endswith(b"\n\n" + ends)
    lines = rest.removesuffix(ends).decode().strip().split("\n")
    assert lines[:-1] == ([] if name is None else [f"event: {name}"])
    event = json.loads(lines[-1].removeprefix("data: "))
    if path == "/v1/messages":
        assert event["type"] == "error"
        assert set(event["error"]) == {"type", "message"}
    elif path == "/v1/responses":
        assert event["type"] == "error"
        assert {"code", "message", "param", "sequence_number"} <= set(event)
    else:
        assert set(event["error"]) == OPENAI_ERROR
    assert CANARY.encode() not in body_of(sent) + rest
    assert CANARY not in caplog.text


# The client's half.


class Attempt:
    """One attempt of a client, in either profile."""

    def __init__(self, profile: int, *, asks_opaque: bool = True) -> None:
        protection = protection_in(profile, asks_opaque=asks_opaque)
        origin = ("http", "server.test", 80)
        self._request = Request("POST", origin, CHAT, CHAT, "", JSON, "", b"{}")
        self._exchange = protection.begin(self._request)
        document = {"document": RING.current(unix_ms()).document_text}
        self._exchange.take_document(200, json.dumps(document).encode())

    async def sent_by(self, app: ASGIApp, *, without: str = "") -> list[Message]:
        """Return what the server sends, if the request loses one of its headers."""
        outgoing = self._exchange.outgoing(self._request)
        headers = [
            (name.encode(), value.encode())
            for name, value in outgoing.headers.items()
            if name not in (without, "content-type")
        ]
        return await ask(protect(app, RING), outgoing.body or b"{}", headers=headers)

    async def answer(self, *pieces: bytes, **answer: Any) -> list[Message]:
        """Return the server's answer, which is that of an application."""
        return await self.sent_by(answering(*pieces, **answer))

    def read(self, sent: list[Message], parts: Parts) -> bytes:
        """Return what the client releases of an answer in these parts."""
        content_type = header_of(sent, b"content-type")[0].decode()
        body = self._exchange.receive(sent[0]["status"], content_type)
        payloads = [payload for part in parts for payload in body.feed(part)]
        return b"".join([*payloads, *body.finish()])

    def report(self, status: int, headers: Any) -> Report:
        """Return what the client reports."""
        return self._exchange.report(status, headers)


def protection_in(profile: int, *, asks_opaque: bool = True) -> Protection:
    """Return a client's protection in a profile."""
    pins = frozenset({RING.identity.fingerprint})
    return Protection(
        ClientSettings(pins=pins, profile=profile, asks_opaque=asks_opaque)
    )


PROFILES = pytest.mark.parametrize("profile", [PROFILE_OUTPUT, PROFILE_SEALED])


@PROFILES
@pytest.mark.parametrize("asks_opaque", [False, True])
async def test_a_client_opens_it_asked_or_not(asks_opaque: bool, profile: int) -> None:
    attempt = Attempt(profile, asks_opaque=asks_opaque)
    sent = await attempt.answer(CANARY.encode(), content_type="text/plain")
    assert attempt.read(sent, [body_of(sent)]) == CANARY.encode()
    report = attempt.report(200, sent[0]["headers"])
    assert (b"content-type", b"text/plain") in report.headers


@PROFILES
@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 5000), max_size=12))
async def test_it_opens_however_it_is_cut(profile: int, cuts: list[int]) -> None:
    attempt = Attempt(profile)
    events = [chunk(0), USAGE, chunk(1), DONE]
    sent = await attempt.answer(*events)
    wire = body_of(sent)
    bounds = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    parts = [wire[low:high] for low, high in itertools.pairwise(bounds)]
    assert attempt.read(sent, parts) == b"".join(events)


@pytest.mark.parametrize("content_type", [JSON, EVENTS])
async def test_who_asked_for_it_takes_nothing_else(content_type: str) -> None:
    attempt = Attempt(PROFILE_OUTPUT)
    piece = ANSWER if content_type == JSON else chunk(0)
    app = answering(piece, content_type=content_type)
    sent = await attempt.sent_by(app, without="accept")
    with pytest.raises(errors.UnexpectedParametersError):
        attempt.read(sent, [body_of(sent)])


@pytest.mark.parametrize("asks_opaque", [False, True])
async def test_a_sealed_request_asks_where_nobody_can_change_it(
    asks_opaque: bool,
) -> None:
    attempt = Attempt(PROFILE_SEALED, asks_opaque=asks_opaque)
    sent = await attempt.sent_by(answering(ANSWER, content_type=JSON), without="accept")
    shown = OPAQUE_MEDIA_TYPE if asks_opaque else JSON
    assert header_of(sent, b"content-type") == [shown.encode()]
    assert attempt.read(sent, [body_of(sent)]) == ANSWER


@PROFILES
async def test_an_answer_relabelled_as_the_other_container_is_refused(
    profile: int,
) -> None:
    attempt = Attempt(profile, asks_opaque=False)
    sent = await attempt.answer(ANSWER, content_type=JSON)
    envelope = json.loads(body_of(sent))
    text = envelope["choices"][0]["message"]["content"]
    frame = base64.b64decode(text.removeprefix("sgop1."))
    sent[0]["headers"] = [(b"content-type", OPAQUE_MEDIA_TYPE.encode())]
    with pytest.raises(errors.UnexpectedParametersError):
        attempt.read(sent, [struct.pack(">I", len(frame)) + frame])


def repeated(wire: bytes) -> bytes:
    """Return a body's last frame with its length."""
    return wire[-len(frames_of(wire)[-1]) - 4 :]


def without_last(wire: bytes) -> bytes:
    """Return a body without its last frame."""
    return wire[: -len(repeated(wire))]


@pytest.mark.parametrize(
    ("tamper", "error"),
    [
        (lambda wire: b"", errors.TruncatedError),
        (lambda wire: wire[:3], errors.TruncatedError),
        (lambda wire: wire[:-1], errors.TruncatedError),
        (without_last, errors.TruncatedError),
        (lambda wire: wire + b"\x00", errors.TrailingDataError),
        (lambda wire: wire + bytes(4), errors.TrailingDataError),
        (lambda wire: wire + repeated(wire), errors.TrailingDataError),
        (lambda wire: wire + struct.pack(">I", 9) + bytes(9), errors.TrailingDataError),
        (lambda wire: b"\xff\xff\xff\xff", errors.TooLargeError),
        (lambda wire: struct.pack(">I", MAX_BODY + 1), errors.TooLargeError),
        (lambda wire: wire + b"\xff\xff\xff\xff", errors.TrailingDataError),
        (lambda wire: bytes(4) + wire, errors.MalformedFrameError),
        (lambda wire: wire[:-1] + bytes([wire[-1] ^ 1]), errors.DecryptionError),
        (lambda wire: ANSWER, errors.ResponseError),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
@PROFILES
async def test_what_is_done_to_it_on_the_way_is_noticed(
    tamper: Callable[[bytes], bytes],
    error: type[Exception],
    is_stream: bool,
    profile: int,
) -> None:
    attempt = Attempt(profile)
    if is_stream:
        sent = await attempt.answer(chunk(0), chunk(1), DONE)
    else:
        sent = await attempt.answer(ANSWER, content_type=JSON)
    with pytest.raises(error):
        attempt.read(sent, [tamper(body_of(sent))])


@PROFILES
async def test_an_error_that_is_not_sealed_is_reported_to_who_asked_for_it(
    profile: int,
) -> None:
    attempt = Attempt(profile)
    sent = await ask(protect(answering(ANSWER)), b"{}")
    assert attempt.read(sent, [body_of(sent)]) == body_of(sent)
    report = attempt.report(400, sent[0]["headers"])
    assert report.status == 400
    assert (b"x-output-protection", b"unauthenticated") in report.headers


class Cut(httpx2.AsyncBaseTransport):
    """Delivers what an application sends, a few bytes at a time."""

    def __init__(self, app: Any, size: int) -> None:
        self._app = app
        self._size = size
        self.wire = b""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        asked = {"path": request.url.path, "method": request.method}
        body = await request.aread()
        sent = await ask(self._app, body, headers=headers, content_type=None, **asked)
        self.wire = body_of(sent)
        response_headers = list(sent[0]["headers"])
        return httpx2.Response(
            sent[0]["status"], headers=response_headers, stream=self._pieces()
        )

    def _pieces(self) -> httpx2.AsyncByteStream:
        wire, size = self.wire, self._size

        class Stream(httpx2.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                for at in range(0, len(wire), size):
                    yield wire[at : at + size]

        return Stream()


@pytest.mark.parametrize("size", [1, 50, 100_000])
@PROFILES
async def test_a_client_gets_the_stream_as_the_application_wrote_it(
    size: int, profile: int
) -> None:
    inner = Cut(protect(answering(chunk(0), USAGE, DONE), RING), size)
    protection = protection_in(profile)
    transport = AsyncProtectedTransport(inner, protection=protection)
    async with httpx2.AsyncClient(transport=transport) as client:
        answer = await client.post(f"http://server.test{CHAT}", json={"stream": True})
    assert answer.content == chunk(0) + USAGE + DONE
    assert answer.headers["content-type"] == EVENTS
    assert answer.headers["x-output-protection"] == "opened"
    assert CANARY.encode() not in inner.wire
    assert b"sgop1." not in inner.wire
