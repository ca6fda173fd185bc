"""Opening sealed requests: each step has its own error, in the order of the page."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.protocol import sealed_request
from stainedglass_output_protection.protocol.constants import (
    CONTAINER_OPAQUE,
    OPAQUE_MEDIA_TYPE,
    SUITE_MLKEM768_X25519,
    SUITE_X25519,
)
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.server import (
    admission,
    middleware,
    sealed_requests,
)
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.middleware import (
    ProtectionMiddleware,
)
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from stainedglass_output_protection.server.replay_store import ReplayStore
from tests.asgi_driver import (
    CHAT,
    answering,
    body_of,
    header_of,
    make_ring,
    protect,
)
from tests.rings import HOUR, Clocks, own_ring, ring_of_source
from tests.server.asking import ANSWER, CANARY, JSON, Recorder, ask, code_of, fresh
from tests.server.sealing import carrying, request_of, sealed, text_of

RING = make_ring()
SUITES = [SUITE_X25519, SUITE_MLKEM768_X25519]
MAX_TEXT = 64 * 1024 * 1024
SECOND = 1000


def protected(app: Any = None, ring: KeyRing = RING, **options: Any) -> Any:
    """Return an application, with a replay store of its own."""
    return protect(Recorder() if app is None else app, ring, **options)


async def refused(body: bytes, **asked: Any) -> tuple[int, str]:
    """Return status and code of a refusal that is not sealed; nobody was asked."""
    app = Recorder()
    options = asked.pop("options", {})
    sent = await ask(protected(app, **options), body, **asked)
    assert app.calls == 0
    assert header_of(sent, b"content-type") == [JSON.encode()]
    assert header_of(sent, b"x-should-retry") == [b"false"]
    assert b"sgop1." not in body_of(sent)
    return code_of(sent)


@pytest.mark.parametrize("suite", SUITES)
async def test_the_application_gets_the_inner_request_alone(suite: int) -> None:
    app = Recorder()
    made = sealed(RING, suite=suite, body=b'{"cache_salt":"x","seed" : 1.50}')
    body = carrying(made.text, echo=True, cache_salt="y")
    headers = [(b"x-other", b"1"), (b"x-ours", b"2"), (b"x-request-id", b"3")]
    target = protected(app, passed_headers=frozenset({"x-ours"}))
    sent = await ask(target, body, headers=headers)
    assert app.body == b'{"cache_salt":"x","seed":1.50}'
    assert app.values(b"content-length") == [str(len(app.body)).encode()]
    assert app.values(b"content-type") == [JSON.encode()]
    # Anybody may have added a header that changes the answer.
    assert app.values(b"x-other") == []
    assert app.values(b"x-ours") == [b"2"]
    assert app.values(b"x-request-id") == [b"3"]
    opened = made.open(sent)
    assert (opened.body, opened.status) == (ANSWER, 200)
    assert opened.is_complete
    assert CANARY.encode() not in body_of(sent)


@pytest.mark.parametrize("where", ["body", "header", "part"])
async def test_what_comes_after_the_request_is_not_the_outer_body(where: str) -> None:
    app = Recorder(waits=True)
    made = sealed(RING, content_type="text/plain", body=b"inner")
    asked: dict[str, Any] = {}
    if where == "body":
        pieces = [made.body[:20], made.body[20:]]
    elif where == "header":
        pieces = [b""]
        asked["headers"] = [(b"x-sealed-request", made.text.encode())]
    else:
        part = 'content-disposition: form-data; name="file"'
        pieces = [f"--b\r\n{part}\r\n\r\n{made.text}\r\n--b--\r\n".encode()]
        asked["content_type"] = "multipart/form-data; boundary=b"
    await ask(protected(app), *pieces, leaves=True, **asked)
    assert app.body == b"inner"
    assert app.after == {"type": "http.disconnect"}


@pytest.mark.parametrize("content_type", [JSON, "audio/wav", None])
async def test_beside_a_sealed_header_no_body_is_read(content_type: str | None) -> None:
    app = Recorder(waits=True)
    for offers_key in (False, True):
        made = sealed(RING, content_type="", body=b"")
        keys = [made.key_pair.header_value] if offers_key else []
        await ask(
            protected(app),
            b"outer",
            b"more",
            headers=[(b"x-sealed-request", made.text.encode())],
            header_keys=keys,
            content_type=content_type,
            leaves=True,
        )
        assert app.body == b""
        assert app.after == {"type": "http.disconnect"}
        assert app.values(b"content-type") == []
        assert app.values(b"content-length") == [b"0"]
    assert app.calls == 2


# Step 1.


async def test_a_text_above_the_limit_is_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*args: Any) -> Any:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(sealed_request, "decode_base64", never)
    text = "sgop1-request." + "A" * MAX_TEXT
    began = time.process_time()
    assert await refused(carrying(text)) == (413, "request_too_large")
    small = {"max_sealed_request": 1000}
    for size in (1000, 2000):
        text = "sgop1-request." + "A" * size
        asked: dict[str, Any] = {"options": small}
        code = await refused(carrying(text), **asked)
        assert code == (413, "request_too_large")
        asked["content_type"] = "multipart/form-data; boundary=b"
        part = f'--b\r\ncontent-disposition: form-data; name="f"\r\n\r\n{text}\r\n--b--'
        code = await refused(part.encode(), **asked)
        assert code == (413, "request_too_large")
    assert time.process_time() - began < 5


async def test_up_to_the_limit_it_is_opened() -> None:
    made = sealed(RING)
    size = len(made.body)
    sent = await ask(protected(max_sealed_request=size), made.body)
    assert made.open(sent).status == 200
    options = {"max_sealed_request": size - 1}
    assert await refused(sealed(RING).body, options=options) == (
        413,
        "request_too_large",
    )


# Step 2.

GOOD = sealed(RING).message.encode()
MALFORMED: dict[str, str] = {
    "nothing": "sgop1-request.",
    "no base64": "sgop1-request.!!!!",
    "no padding": text_of(GOOD + b"x").rstrip("="),
    "white space": text_of(GOOD) + "\n",
    "url-safe": text_of(b"\xff" * 99).replace("/", "_"),
    "stray bits": text_of(GOOD[:40])[:-2] + "B=",
    "not ASCII": text_of(GOOD) + "é",
    "a header cut short": text_of(GOOD[:41]),
    "version 0": text_of(b"\x00" + GOOD[1:]),
    "version 2": text_of(b"\x02" + GOOD[1:]),
    "suite 0": text_of(GOOD[:1] + b"\x00" + GOOD[2:]),
    "suite 3": text_of(GOOD[:1] + b"\x03" + GOOD[2:]),
    "suite 255": text_of(GOOD[:1] + b"\xff" + GOOD[2:]),
}


@pytest.mark.parametrize("fault", MALFORMED)
async def test_a_malformed_text_is_refused(fault: str) -> None:
    text = MALFORMED[fault]
    expected = (400, "sealed_request_malformed")
    assert await refused(carrying(text)) == expected
    if text.isascii() and "\n" not in text:
        headers = [(b"x-sealed-request", text.encode())]
        assert await refused(b"", headers=headers) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":"sgop1-request.',
        b"sgop1-request.AAAA",
        b'{"x":NaN,"prompt":"sgop1-request.AAAA"}',
        b"[" * 100_000 + b'"sgop1-request.AAAA"',
    ],
    ids=itertools.count(),
)
async def test_a_body_around_a_text_that_cannot_be_parsed_is_refused(
    body: bytes,
) -> None:
    assert await refused(body) == (400, "sealed_request_malformed")


async def test_two_texts_are_refused_unless_the_first_counts() -> None:
    one, two = sealed(RING), sealed(RING)
    expected = (400, "sealed_request_malformed")
    header = (b"x-sealed-request", two.text.encode())
    assert await refused(one.body, headers=[header]) == expected
    assert await refused(b"", headers=[header, header]) == expected
    parts = "".join(
        f'--b\r\ncontent-disposition: form-data; name="f"\r\n\r\n{it.text}\r\n'
        for it in (one, two)
    )
    upload = {"content_type": "multipart/form-data; boundary=b"}
    assert await refused(f"{parts}--b--\r\n".encode(), **upload) == expected
    # Of two strings in a body the first counts.
    app = Recorder()
    body = json.dumps({"a": [one.text], "b": two.text}).encode()
    sent = await ask(protected(app), body)
    assert one.open(sent).body == ANSWER


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/x; boundary="]
)
async def test_an_upload_without_a_boundary_is_refused(content_type: str) -> None:
    made = sealed(RING)
    assert await refused(made.body, content_type=content_type) == (
        400,
        "sealed_request_malformed",
    )
    # Nor does one inside, or around nothing, fail the server.
    inner = sealed(RING, content_type=content_type, body=b"sgop1-request.")
    sent = await ask(protected(), inner.body)
    assert inner.open(sent).status == 200
    made = sealed(RING, content_type="", body=b"")
    header = (b"x-sealed-request", made.text.encode())
    sent = await ask(protected(), b"", content_type=content_type, headers=[header])
    assert made.open(sent).status == 200


async def test_a_text_may_have_escapes_but_not_in_its_prefix() -> None:
    made = sealed(RING)
    while "/" not in made.text:
        made = sealed(RING)
    escaped = made.body.replace(b"/", b"\\/")
    assert made.open(await ask(protected(), escaped)).body == ANSWER
    broken = made.body.replace(b"/", b"\\ud800")
    assert await refused(broken) == (400, "sealed_request_malformed")
    hidden = made.body.replace(b"sgop1-", b"\\u0073gop1-")
    assert await refused(hidden) == (400, "client_key_missing")
    name = json.dumps({made.text: "x"}).encode()
    assert await refused(name) == (400, "client_key_missing")


async def test_a_text_that_is_only_quoted_is_none() -> None:
    _, key = fresh()
    app = Recorder()
    body = json.dumps({"prompt": f"What is {sealed(RING).text}?"}).encode()
    sent = await ask(protected(app), body, header_keys=[key])
    assert app.body == body
    assert header_of(sent, b"content-type") == [JSON.encode()]
    assert await refused(body) == (400, "client_key_missing")


# Step 3.

_P = 2**255 - 19
LOW_ORDER = [
    0,
    1,
    _P - 1,
    _P,
    _P + 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
]


@pytest.mark.parametrize("coordinate", LOW_ORDER)
@pytest.mark.parametrize("top_bit", [0, 1 << 255])
async def test_a_client_key_of_low_order_is_refused(
    coordinate: int, top_bit: int
) -> None:
    key = (coordinate | top_bit).to_bytes(32, "little")
    text = text_of(GOOD[:10] + key + GOOD[42:])
    assert await refused(carrying(text)) == (400, "client_key_malformed")


async def test_another_client_key_in_the_clear_is_refused() -> None:
    made = sealed(RING)
    key = made.key_pair.header_value
    _, other = fresh()
    expected = (400, "client_key_duplicated")
    member = json.loads(made.body)
    for wrong in (other, "", key + " ", key.lower()):
        assert await refused(made.body, header_keys=[wrong]) == expected
        body = json.dumps({**member, "sg_client_public_key": wrong}).encode()
        assert await refused(body) == expected
        assert await refused(body, header_keys=[key]) == expected
        header = (b"x-sealed-request", made.text.encode())
        code = await refused(b"", headers=[header], header_keys=[wrong])
        assert code == expected
    assert await refused(made.body, header_keys=[key, key]) == expected
    # The same one is none too many.
    body = json.dumps({**member, "sg_client_public_key": key}).encode()
    sent = await ask(protected(), body, header_keys=[key])
    assert made.open(sent).status == 200


# Step 4.


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
@pytest.mark.parametrize("key_id", [bytes(8), b"\xff" * 8])
async def test_an_unknown_key_is_answered_with_the_document(
    key_id: bytes, path: str
) -> None:
    message = dataclasses.replace(sealed(RING).message, key_id=key_id)
    app = Recorder()
    sent = await ask(protected(app), carrying(message.to_text()), path=path)
    assert code_of(sent) == (422, "key_unknown")
    assert app.calls == 0
    error = json.loads(body_of(sent))["error"]
    document = KeyDocument.from_text(error["message"].rpartition(" ")[2])
    assert document.to_text() == RING.current(unix_ms()).document_text
    assert set(document.suite_public_keys) == set(SUITES)


async def test_an_empty_message_is_answered_with_the_document() -> None:
    empty = b"\x01\x02" + bytes(8) + GOOD[10:42]
    assert await refused(carrying(text_of(empty))) == (422, "key_unknown")
    header = (b"x-sealed-request", text_of(empty).encode())
    assert await refused(b"", headers=[header]) == (422, "key_unknown")


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks that the server tells the time by."""
    made = Clocks(unix_ms())
    for module in (sealed_requests, admission, middleware):
        monkeypatch.setattr(module, "unix_ms", lambda: made.now)
    return made


def ring_by(clocks: Clocks, period_ms: int = HOUR) -> KeyRing:
    source = OwnEpochs(EpochTimes(period_ms), elapsed=clocks.elapsed)
    return ring_of_source(source, clocks)


async def test_a_retired_epoch_is_unknown_and_one_that_overlaps_is_not(
    clocks: Clocks,
) -> None:
    ring = ring_by(clocks)
    key = ring.current(clocks.now)
    first, second = sealed(key), sealed(key)
    ring.tick(clocks.go(HOUR + 1))
    assert ring.current(clocks.now) is not key
    sent = await ask(protected(ring=ring), first.body)
    # It is answered under the epoch that it names.
    assert first.open(sent).status == 200
    clocks.go(HOUR)
    sent = await ask(protected(ring=ring), second.body)
    assert code_of(sent) == (422, "key_unknown")


async def test_an_epoch_that_retires_while_its_request_is_opened_is_unknown(
    clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = ring_by(clocks)
    made = sealed(ring.current(clocks.now))
    ring.tick(clocks.go(HOUR + 1))

    def an_hour_later() -> int:
        return clocks.go(HOUR)

    def once() -> int:
        """The time, when the request is opened; an hour passes before the next look."""
        monkeypatch.setattr(sealed_requests, "unix_ms", an_hour_later)
        return clocks.now

    monkeypatch.setattr(sealed_requests, "unix_ms", once)
    app = Recorder()
    sent = await ask(protected(app, ring=ring), made.body)
    assert code_of(sent) == (422, "key_unknown")
    assert app.calls == 0


# Step 5.


def changed(at: int, bit: int = 1, suite: int = SUITE_X25519) -> str:
    """Return a message's text with a bit flipped."""
    data = bytearray(sealed(RING, suite=suite).message.encode())
    data[at] ^= bit
    return text_of(bytes(data))


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("at", [10, 25, 41, 42, 60, 73, 74, 100, -17, -16, -1])
async def test_a_changed_message_does_not_open(at: int, suite: int) -> None:
    code = await refused(carrying(changed(at, 4, suite)))
    assert code == (400, "sealed_request_malformed")


async def test_what_was_not_sealed_to_this_key_does_not_open() -> None:
    expected = (400, "sealed_request_malformed")
    message = sealed(make_ring()).message
    key_id = RING.current(unix_ms()).statement.key_id
    foreign = dataclasses.replace(message, key_id=key_id)
    assert await refused(carrying(foreign.to_text())) == expected
    for suite, other in itertools.permutations(SUITES):
        relabelled = dataclasses.replace(sealed(RING, suite=suite).message, suite=other)
        assert await refused(carrying(relabelled.to_text())) == expected
    _, key = fresh()
    adopted = dataclasses.replace(
        sealed(RING).message, client_public_key=base64.b64decode(key)
    )
    assert await refused(carrying(adopted.to_text())) == expected
    for size in (0, 1, 31, 32, 47, 48):
        cut = dataclasses.replace(message, key_id=key_id, ciphertext=bytes(size))
        assert await refused(carrying(cut.to_text())) == expected


PLAIN = request_of().encode()
ODD: dict[str, bytes] = {
    "nothing": b"",
    "cut": PLAIN[:72],
    "body cut": request_of(body=b"x" * 5000).encode()[:4000],
    "no zeros": PLAIN[:-1] + b"\x01",
    "container 0": PLAIN[:72] + b"\x00" + PLAIN[73:],
    "container 3": PLAIN[:72] + b"\x03" + PLAIN[73:],
    "method no UTF-8": PLAIN[:74] + b"\xff" + PLAIN[75:],
    "length too long": PLAIN[:73] + b"\xff" * 3 + PLAIN[76:],
}


@pytest.mark.parametrize("odd", ODD)
async def test_what_opens_to_no_request_is_refused(odd: str) -> None:
    made = sealed(RING, plaintext=ODD[odd])
    assert await refused(made.body) == (400, "sealed_request_malformed")


@pytest.mark.parametrize("size", [0, 1, 5000])
async def test_the_number_of_zeros_does_not_matter(size: int) -> None:
    request = request_of()
    plaintext = request.encode().rstrip(b"\0") + bytes(size + 3)
    made = sealed(RING, plaintext=plaintext, response_secret=request.response_secret)
    sent = await ask(protected(), made.body)
    assert made.open(sent).status == 200


# Step 7.


async def test_a_replay_is_refused_and_only_who_sent_it_can_read_why() -> None:
    app = Recorder()
    target = protected(app)
    made = sealed(RING)
    assert made.open(await ask(target, made.body)).status == 200
    for body in (made.body, carrying(made.text, n=2)):
        sent = await ask(target, body)
        assert made.code(sent) == (425, "request_replayed")
        assert b"used already" not in body_of(sent)
    # By another way, too.
    header = (b"x-sealed-request", made.text.encode())
    assert made.code(await ask(target, b"", headers=[header]))[0] == 425
    assert app.calls == 1


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize(
    ("ahead", "is_good"),
    [(61 * SECOND, False), (3600 * SECOND, False), (2**63, False), (55 * SECOND, True)],
)
async def test_a_time_ahead_of_the_clock_is_refused(
    ahead: int, is_good: bool, suite: int
) -> None:
    app = Recorder()
    made = sealed(RING, suite=suite, time_ms=unix_ms() + ahead)
    sent = await ask(protected(app), made.body)
    if is_good:
        assert made.open(sent).status == 200
    else:
        assert made.code(sent) == (425, "request_mistimed")
        assert app.calls == 0


async def test_an_old_time_is_refused_once_the_store_cannot_tell() -> None:
    now = unix_ms()
    store = ReplayStore(None, mark_ms=now)
    app = Recorder()
    target = ProtectionMiddleware(
        app, Options(), ring_of=lambda scope: RING, replay_store=lambda: store
    )
    for time_ms, expected in ((now - 1, 425), (now, 425), (now + 1, 200)):
        made = sealed(RING, time_ms=time_ms)
        sent = await ask(target, made.body)
        assert made.open(sent).status == expected
    assert app.calls == 1


@pytest.mark.parametrize("status", [500, 502, 503, 599])
async def test_an_attempt_that_failed_may_be_sent_again(status: int) -> None:
    calls = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope)
        code = status if len(calls) < 3 else 200
        await answering(ANSWER, content_type=JSON, status=code)(scope, receive, send)

    target = protected(app)
    made = sealed(RING)
    statuses = [made.open(await ask(target, made.body)).status for _ in range(4)]
    assert statuses == [status, status, 200, 425]
    assert len(calls) == 3


async def test_an_application_that_raised_may_be_asked_again() -> None:
    calls = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope)
        if len(calls) == 1:
            raise RuntimeError(CANARY)
        if len(calls) == 2:
            start = [(b"content-type", JSON.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": start})
            raise RuntimeError(CANARY)
        await answering(ANSWER, content_type=JSON)(scope, receive, send)

    target = protected(app)
    made = sealed(RING)
    statuses = [made.open(await ask(target, made.body)).status for _ in range(4)]
    assert statuses == [500, 500, 200, 425]


@pytest.mark.parametrize("status", [200, 204, 400, 404, 422, 429, 499])
async def test_an_attempt_that_was_answered_may_not(status: int) -> None:
    app = answering(ANSWER, content_type=JSON, status=status)
    target = protected(app)
    made = sealed(RING)
    assert made.open(await ask(target, made.body)).status == status
    assert made.code(await ask(target, made.body)) == (425, "request_replayed")


async def test_a_stream_that_broke_was_answered() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        event = {"type": "http.response.body", "body": b"data: {}\n\n"}
        await send({**event, "more_body": True})
        raise RuntimeError(CANARY)

    target = protected(app)
    made = sealed(RING)
    assert made.open(await ask(target, made.body)).status == 200
    assert made.code(await ask(target, made.body)) == (425, "request_replayed")


async def test_a_client_that_left_has_used_its_request() -> None:
    calls = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope)
        await receive()
        if len(calls) == 1:
            assert (await receive())["type"] == "http.disconnect"
        await answering(ANSWER, content_type=JSON, status=503)(scope, receive, send)

    target = protected(app)
    made = sealed(RING)
    assert await ask(target, made.body, leaves=True) == []
    assert made.code(await ask(target, made.body)) == (425, "request_replayed")


class Broken(ReplayStore):
    """A store whose disk fails when it is told to."""

    def __init__(self, *failing: str) -> None:
        super().__init__(None)
        self._failing = failing

    def enter(self, *args: Any, **kwargs: Any) -> None:
        if "enter" in self._failing:
            raise KeysUnavailableError("no disk")
        super().enter(*args, **kwargs)

    def release(self, response_secret: bytes) -> None:
        if "release" in self._failing:
            raise KeysUnavailableError("no disk")
        super().release(response_secret)


def with_store(app: Any, store: ReplayStore) -> ProtectionMiddleware:
    return ProtectionMiddleware(
        app, Options(), ring_of=lambda scope: RING, replay_store=lambda: store
    )


async def test_without_a_store_nothing_is_let_through() -> None:
    app = Recorder()
    sent = await ask(with_store(app, Broken("enter")), sealed(RING).body)
    assert code_of(sent) == (503, "keys_unavailable")
    assert app.calls == 0
    # Requests that are not sealed need none.
    _, key = fresh()
    await ask(with_store(app, Broken("enter")), b"{}", header_keys=[key])
    assert app.calls == 1


async def test_a_release_that_fails_leaves_the_answer_as_it_is() -> None:
    app = answering(ANSWER, content_type=JSON, status=503)
    target = with_store(app, Broken("release"))
    made = sealed(RING)
    opened = made.open(await ask(target, made.body))
    assert (opened.status, opened.body) == (503, ANSWER)
    assert made.code(await ask(target, made.body)) == (425, "request_replayed")


# Steps 6 and 8.


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"method": "PUT"}, {}),
        ({"target": "/v1/completions"}, {}),
        ({"target": f"{CHAT}?x=1"}, {}),
        ({}, {"query_string": b"x=1"}),
        ({"target": f"{CHAT}?x=1"}, {"query_string": b"x=2"}),
        ({"target": f"{CHAT}?"}, {}),
        ({"target": ""}, {}),
        ({"target": f"/api{CHAT}"}, {}),
    ],
    ids=itertools.count(),
)
async def test_another_target_is_refused_each_time(
    changes: dict[str, Any], asked: dict[str, Any]
) -> None:
    app = Recorder()
    made = sealed(RING, **changes)
    target = protected(app)
    for _ in range(2):
        sent = await ask(target, made.body, **asked)
        assert made.code(sent) == (400, "sealed_request_mismatch")
    assert app.calls == 0


async def test_a_request_is_served_after_a_router_has_sent_it_elsewhere() -> None:
    app = answering(ANSWER, content_type=JSON)
    made = sealed(RING)
    target = protected(app)
    sent = await ask(target, made.body, path=f"{CHAT}/render")
    assert made.code(sent) == (400, "sealed_request_mismatch")
    assert made.open(await ask(target, made.body)).body == ANSWER
    assert made.code(await ask(target, made.body)) == (425, "request_replayed")


@pytest.mark.parametrize(
    ("changes", "members"),
    [
        ({"body": b'{"model":"a"}'}, {"model": "b"}),
        ({"body": b'{"model":"a"}'}, {"model": None}),
        ({"body": b"{}"}, {"model": "b"}),
        ({"body": b'{"stream":true}'}, {"stream": False}),
        ({"body": b'{"stream":false}'}, {"stream": True}),
        ({"body": b"{}"}, {"stream": True}),
        ({"body": b"{}"}, {"stream": 1}),
        ({"body": b"[]"}, {"stream": True}),
        ({"body": b"{"}, {"model": "m"}),
    ],
    ids=itertools.count(),
)
async def test_other_members_are_refused_and_use_it_up(
    changes: dict[str, Any], members: dict[str, Any]
) -> None:
    app = Recorder()
    made = sealed(RING, **changes)
    target = protected(app)
    sent = await ask(target, carrying(made.text, **members))
    assert made.code(sent) == (400, "sealed_request_mismatch")
    assert app.calls == 0
    # Nobody can go on guessing with it.
    sent = await ask(target, carrying(made.text, **members))
    assert made.code(sent) == (425, "request_replayed")


@pytest.mark.parametrize(
    ("body", "members"),
    [
        (b"{}", {"stream": False}),
        (b'{"stream":true,"model":"a"}', {}),
        (b'{"model":"a","model":"b"}', {"model": "b"}),
        (b'{"model":{"a":[1]}}', {"model": {"a": [1]}}),
        (b'{"model":null}', {"model": None}),
    ],
)
async def test_what_agrees_is_served(body: bytes, members: dict[str, Any]) -> None:
    made = sealed(RING, body=body)
    sent = await ask(protected(), carrying(made.text, **members))
    assert made.open(sent).status == 200


@pytest.mark.parametrize("root", ["", "/api"])
async def test_the_target_is_what_the_router_sees(root: str) -> None:
    made = sealed(RING, target=f"{CHAT}?x=%41&y")
    asked = {"path": root + CHAT, "root_path": root, "query_string": b"x=%41&y"}
    sent = await ask(protected(), made.body, **asked)
    assert made.open(sent).status == 200


# The order of the steps: of two faults the earlier one is answered.

Fault = Callable[[], tuple[bytes, dict[str, Any]]]


def early_fault(step: int) -> tuple[bytes, dict[str, Any]]:
    """Return a request with a fault of this step and one of each later step up to 5."""
    data = bytearray(sealed(RING).message.encode())
    data[-1] ^= 1  # 5
    asked: dict[str, Any] = {}
    if step <= 4:
        data[2:10] = bytes(8)
    if step <= 3:
        data[10:42] = bytes(32)
    if step <= 2:
        data[0] = 9
    if step <= 1:
        asked["options"] = {"max_sealed_request": 100}
    return carrying(text_of(bytes(data))), asked


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (1, "request_too_large"),
        (2, "sealed_request_malformed"),
        (3, "client_key_malformed"),
        (4, "key_unknown"),
        (5, "sealed_request_malformed"),
    ],
)
async def test_the_first_fault_is_answered(step: int, code: str) -> None:
    body, asked = early_fault(step)
    assert (await refused(body, **asked))[1] == code


async def test_opening_comes_first_then_the_target_the_time_and_the_members() -> None:
    changes: dict[str, Any] = {"time_ms": unix_ms() + 3600 * SECOND}
    made = sealed(RING, **changes)
    sent = await ask(protected(), carrying(made.text, model="other"))
    assert made.code(sent) == (425, "request_mistimed")
    changes["method"] = "PUT"
    made = sealed(RING, **changes)
    sent = await ask(protected(), made.body)
    assert made.code(sent) == (400, "sealed_request_mismatch")
    plaintext = request_of(**changes).encode()[:-1] + b"\x01"
    made = sealed(RING, plaintext=plaintext)
    assert await refused(made.body) == (400, "sealed_request_malformed")


# Around it.


@pytest.mark.parametrize("suite", SUITES)
async def test_the_container_is_the_one_inside(suite: int) -> None:
    made = sealed(RING, suite=suite, container=CONTAINER_OPAQUE)
    sent = await ask(protected(), made.body)
    assert header_of(sent, b"content-type") == [OPAQUE_MEDIA_TYPE.encode()]
    assert made.open(sent).body == ANSWER
    made = sealed(RING, suite=suite)
    accept = [(b"accept", OPAQUE_MEDIA_TYPE.encode())]
    sent = await ask(protected(), made.body, headers=accept)
    assert header_of(sent, b"content-type") == [JSON.encode()]
    assert made.open(sent).body == ANSWER


async def test_an_error_after_opening_is_in_the_container_inside() -> None:
    made = sealed(RING, container=CONTAINER_OPAQUE, method="PUT")
    sent = await ask(protected(), made.body)
    assert header_of(sent, b"content-type") == [OPAQUE_MEDIA_TYPE.encode()]
    assert b"mismatch" not in body_of(sent)
    assert made.code(sent) == (400, "sealed_request_mismatch")


async def test_who_serves_sealed_requests_only_says_so() -> None:
    app = Recorder()
    target = protected(app, requires_sealed=True)
    _, key = fresh()
    bodies = [b"{}", f'{{"sg_client_public_key":"{key}"}}'.encode()]
    for body, keys in itertools.product(bodies, ([], [key])):
        sent = await ask(target, body, header_keys=keys)
        assert code_of(sent) == (400, "sealed_request_required")
    upload = {"content_type": "multipart/form-data; boundary=b"}
    for keys in ([], [key]):
        sent = await ask(target, b"--b--", header_keys=keys, **upload)
        assert code_of(sent) == (400, "sealed_request_required")
    assert app.calls == 0
    made = sealed(RING)
    assert made.open(await ask(target, made.body)).status == 200


async def test_an_upload_with_a_clear_key_is_not_searched() -> None:
    app = Recorder()
    _, key = fresh()
    text = sealed(RING).text
    part = 'content-disposition: form-data; name="file"'
    body = f"--b\r\n{part}\r\n\r\n{text}\r\n--b--\r\n".encode()
    upload = {"content_type": "multipart/form-data; boundary=b"}
    await ask(protected(app), body, header_keys=[key], **upload)
    assert app.body == body


async def test_without_a_usable_key_no_request_opens() -> None:
    made = sealed(RING)
    ring = own_ring()
    app = Recorder()
    sent = await ask(protected(app, ring), made.body)
    assert code_of(sent) == (503, "keys_unavailable")
    assert app.calls == 0


async def test_an_answer_is_under_the_named_epoch_however_long_it_takes(
    clocks: Clocks,
) -> None:
    ring = ring_by(clocks)
    key = ring.current(clocks.now)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        ring.tick(clocks.go(3 * HOUR))
        assert ring.by_id(key.statement.key_id, clocks.now) is None
        await answering(ANSWER, content_type=JSON)(scope, receive, send)

    made = sealed(key)
    assert made.open(await ask(protected(slow, ring), made.body)).body == ANSWER


async def test_a_refusal_says_nothing_of_the_request() -> None:
    word = "xanthic-heliotrope"
    faults = [
        carrying(f"sgop1-request.{word}"),
        carrying(text_of(GOOD[:10] + bytes(32)), model=word),
        carrying(changed(-1), model=word),
        carrying(text_of(b"\x01\x01" + bytes(8) + GOOD[10:42]), model=word),
    ]
    for body in faults:
        sent = await ask(protected(), body, headers=[(b"x-word", word.encode())])
        assert word.encode() not in body_of(sent)
    made = sealed(RING, body=json.dumps({"model": word}).encode())
    sent = await ask(protected(), carrying(made.text, model="m"))
    opened = made.open(sent)
    assert opened.status == 400
    assert word.encode() not in opened.body


# The document's own route.


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
async def test_the_document_is_at_its_well_known_path(method: str) -> None:
    path = "/.well-known/output-protection"
    app = Recorder()
    for root in ("", "/api"):
        asked = {"path": root + path, "root_path": root, "method": method}
        before = unix_ms()
        sent = await ask(protected(app), b"", **asked)
        if method in ("GET", "HEAD"):
            assert sent[0]["status"] == 200
            assert header_of(sent, b"cache-control") == [b"no-store"]
            (length,) = header_of(sent, b"content-length")
            body = body_of(sent)
            if method == "HEAD":
                assert body == b""
                continue
            assert int(length) == len(body)
            members = json.loads(body)
            current = RING.current(unix_ms())
            assert before <= members["now"] <= unix_ms()
            assert members["document"] == current.document_text
            assert members["identity"] == RING.identity.fingerprint
            assert members["key_id"] == current.statement.key_id.hex()
        else:
            assert code_of(sent) == (405, "method_not_allowed")
    assert app.calls == 0


async def test_without_a_usable_key_there_is_no_document() -> None:
    ring = own_ring()
    path = "/.well-known/output-protection"
    sent = await ask(protected(ring=ring), b"", path=path, method="GET")
    assert code_of(sent) == (503, "keys_unavailable")
