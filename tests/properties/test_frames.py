"""What holds for every input: of frames, statements and event streams."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from stainedglass_output_protection.client.bodies import (
    MislabelledBody,
    OpaqueBody,
    StreamBody,
)
from stainedglass_output_protection.errors import (
    ClientKeyError,
    MalformedFrameError,
    ResponseError,
    TooLargeError,
)
from stainedglass_output_protection.protocol.encoding import (
    frame_from_text,
    frame_to_text,
)
from stainedglass_output_protection.protocol.events import EventSplitter, event_data
from stainedglass_output_protection.protocol.fields_reader import find_frame
from stainedglass_output_protection.protocol.head import Parameters
from stainedglass_output_protection.protocol.keys import (
    ClientKeyPair,
    parse_client_key,
)
from stainedglass_output_protection.protocol.opaque_reader import FrameSplitter
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.statement import Statement
from stainedglass_output_protection.protocol.trust import StatementPolicy
from tests import reference
from tests.vectors.vocabulary import (
    CIPHERTEXT,
    NOW,
    STATEMENT,
    Response,
    sealed,
    secret,
    statement,
)

BODY = [b'data: {"n":1}\n\n', b'data: {"n":2}\n\n', b"data: [DONE]\n\n"]
FRAMES = sealed(*BODY, shared=9)
SUITES = [(1, secret("suite 1")), (7, secret("suite 7"))]


def fresh_opener(container: int = reference.FIELDS) -> Opener:
    """A client without a pin, so that nothing but the protocol itself protects it."""
    policy = StatementPolicy()
    private_key = X25519PrivateKey.from_private_bytes(secret("client"))
    return Opener(
        ClientKeyPair(private_key),
        accept=lambda statement: policy.accept(statement, now_ms=NOW),
        parameters=Parameters(container=container),
    )


# Frames


def refuses(frames: list[bytes]) -> bytes:
    """What an opener releases of ``frames`` before it refuses one, or their end."""
    opener, released = fresh_opener(), bytearray()

    def read() -> None:
        for frame in frames:
            released.extend(opener.open(frame))
        opener.finish()

    with pytest.raises(ResponseError):
        read()
    return bytes(released)


def both_open(frames: list[bytes]) -> None:
    """Package and reference release the same, or refuse for the same reason."""
    ours = fresh_opener()
    theirs = reference.Opener(secret("client"), reference.Client(), NOW)
    for frame in frames:
        try:
            expected = theirs.open(frame)
        except reference.Refused as refused:
            name = refused.name
            break
        assert ours.open(frame) == expected
        assert (ours.status, ours.content_type) == (theirs.status, theirs.content_type)
    else:
        return
    with pytest.raises(ResponseError) as caught:
        ours.open(frame)
    assert type(caught.value).__name__ == name


@given(st.integers(0, len(FRAMES) - 1), st.data())
def test_one_flipped_bit_is_refused(index: int, data: st.DataObject) -> None:
    frame = bytearray(FRAMES[index])
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    changed = [*FRAMES[:index], bytes(frame), *FRAMES[index + 1 :]]
    assert refuses(changed) == b"".join(BODY[:index])


def test_every_flipped_bit_is_refused() -> None:
    for index, frame in enumerate(FRAMES):
        for bit in range(8 * len(frame)):
            changed = bytearray(frame)
            changed[bit // 8] ^= 1 << bit % 8
            released = refuses([*FRAMES[:index], bytes(changed)])
            assert released == b"".join(BODY[:index])


@given(st.lists(st.sampled_from(FRAMES), max_size=6))
def test_only_the_frames_in_order_are_a_response(frames: list[bytes]) -> None:
    if frames == FRAMES:
        return
    right = next(
        (i for i, (a, b) in enumerate(zip(frames, FRAMES, strict=False)) if a != b),
        min(len(frames), len(FRAMES)),
    )
    assert refuses(frames) == b"".join(BODY[:right])


@given(st.integers(0, len(FRAMES) - 1), st.data())
def test_a_frame_cut_or_lengthened_is_refused(index: int, data: st.DataObject) -> None:
    frame = FRAMES[index]
    change = data.draw(
        st.integers(0, len(frame) - 1).map(lambda size: frame[:size])
        | st.binary(min_size=1, max_size=40).map(lambda more: frame + more)
    )
    assert refuses([*FRAMES[:index], change]) == b"".join(BODY[:index])


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=3))
def test_any_bytes_are_refused(frames: list[bytes]) -> None:
    assert refuses(frames) == b""


@given(
    st.sampled_from([1, 3]),
    st.binary(max_size=40),
    st.integers(0, CIPHERTEXT),
    st.binary(max_size=400),
)
def test_any_bytes_behind_a_good_beginning_are_refused(
    flags: int, sequence: bytes, kept: int, rest: bytes
) -> None:
    beginning = bytes([flags]) + sequence + FRAMES[0][5:kept]
    assert refuses([beginning + rest]) == b""
    assert refuses([FRAMES[0][:kept] + rest]) == b""


@given(st.binary(max_size=80), st.booleans())
def test_any_sealed_plaintext_is_opened_or_refused(
    plaintext: bytes, is_status_good: bool
) -> None:
    """A server may be faulty, too: what it sealed is then refused like anything else."""
    if is_status_good:
        plaintext = reference.opening(200, b"") + plaintext
    both_open([Response().frame(0, plaintext)])


@given(
    k=st.integers(0, 20),
    length=st.integers(0, 20),
    rest=st.binary(max_size=24) | st.binary(max_size=8).map(lambda b: b + bytes(12)),
)
def test_any_later_record_is_opened_as_the_reference_does(
    k: int, length: int, rest: bytes
) -> None:
    record = k.to_bytes(4, "big") + length.to_bytes(4, "big") + rest
    both_open([FRAMES[0], Response().frame(1, record)])


# Text


@given(st.binary(max_size=200))
def test_a_frame_survives_its_text(frame: bytes) -> None:
    text = frame_to_text(frame).decode("ascii")
    assert frame_from_text(text) == reference.frame_of(text) == frame


@given(
    st.text(max_size=60)
    | st.text("AQgw+/-_=\n ", max_size=12).map("sgop1.".__add__)
    | st.text(max_size=12).map("sgop1.".__add__)
)
def test_any_text_is_a_frame_in_one_form_only(text: str) -> None:
    try:
        frame = frame_from_text(text)
    except MalformedFrameError:
        with pytest.raises(reference.Refused):
            reference.frame_of(text)
    else:
        assert frame_to_text(frame).decode("ascii") == text


def both_find(body: bytes) -> None:
    """Package and reference find the same frame, or none, or refuse what they find."""
    try:
        expected = reference.frame_in(body)
    except reference.Refused:
        with pytest.raises(MalformedFrameError):
            find_frame(body)
    else:
        assert find_frame(body) == expected


@given(
    st.binary(max_size=100)
    | st.binary(max_size=60).map(b"sgop1.".__add__)
    | st.binary(max_size=9).map(lambda more: b'["sgop1.AAAA"' + more)
    | st.binary(max_size=9).map(lambda more: b'["sgop1.' + more + b'"]')
)
@example(b"\xef\xbb\xbf" + b'"sgop1.AAAA"')
@example('"sgop1.AAAA"'.encode("utf-16"))
@example(b'["sgop1.AAAA", NaN]')
@example(b'["\xff", "sgop1.AAAA"]')
@example(b'["\t", "sgop1.AAAA"]')
@example(b'["sgop1.AAAA"] "x"')
@example(b'["sgop1.AAAA",]')
def test_any_body_has_a_frame_or_none(body: bytes) -> None:
    both_find(body)


def test_a_frame_deeper_than_the_parser_goes_is_malformed() -> None:
    for closing in (b"", b"]" * 10**5):
        with pytest.raises(MalformedFrameError):
            find_frame(b"[" * 10**5 + b'"sgop1.AAAA"' + closing)


# Strings with the prefix, good and bad, nearly with it, and others; as names, too.
strings = st.text(max_size=8) | st.sampled_from(
    [
        "sgop1.AAAA",
        "sgop1.//++",
        "sgop1.AAA",
        "sgop1.",
        " sgop1.AAAA",
        "SGOP1.AAAA",
        "sgop1",
        '"sgop1.AAAA',
        '\\"sgop1.AAAA": "',
    ]
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | strings,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            strings | st.sampled_from(["delta", "text"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(json_values, st.booleans(), st.sampled_from([None, 0, 3]), st.booleans())
@example({"choices": [{"delta": {"content": "sgop1.AAAA"}}]}, True, None, False)
def test_any_json_has_the_frame_that_the_reference_finds(
    value: object, is_ascii: bool, indent: int | None, has_escapes: bool
) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent)
    if has_escapes:
        text = text.replace("/", "\\/").replace("+", "\\u002B")
    both_find(text.encode())


@given(st.text(max_size=50) | st.binary(min_size=32, max_size=32).map(bytes.hex))
def test_any_client_key_is_read_as_the_reference_does(header: str) -> None:
    try:
        expected = reference.client_key(header)
    except reference.Refused:
        with pytest.raises(ClientKeyError):
            parse_client_key(header)
    else:
        assert parse_client_key(header) == expected


# Statements

statements = st.sampled_from(
    [statement().encoded, statement(suites=SUITES).encoded, FRAMES[0][STATEMENT:]]
)


@st.composite
def damaged_statements(draw: st.DrawFn) -> bytes:
    """Bytes that are a statement, or nearly one."""
    encoded = bytearray(draw(statements))
    for at in draw(st.lists(st.integers(0, len(encoded) - 1), max_size=3)):
        encoded[at] = draw(st.integers(0, 255))
    return bytes(encoded[: draw(st.integers(0, len(encoded)))]) + draw(
        st.binary(max_size=40)
    )


@given(
    damaged_statements() | statements | st.binary(max_size=300), st.binary(max_size=9)
)
def test_a_statement_that_parses_encodes_to_the_same_bytes(
    data: bytes, before: bytes
) -> None:
    try:
        expected, rest = reference.parse_statement(data)
    except reference.Refused:
        with pytest.raises(MalformedFrameError):
            Statement.parse_prefix(before + data, len(before))
        return
    parsed, end = Statement.parse_prefix(before + data, len(before))
    assert parsed.encode() == expected.encoded
    assert before + parsed.encode() + rest == before + data
    assert end == len(before) + len(parsed.encode())


# Container `opaque`

OPAQUE_FRAMES = Response(parameters=(1, 1, 1, reference.OPAQUE)).frames(*BODY, shared=9)
cuts = st.lists(st.integers(0, 400), max_size=12)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(st.binary(max_size=40), max_size=8), st.binary(max_size=3), cuts)
def test_opaque_frames_do_not_depend_on_where_the_bytes_are_cut(
    frames: list[bytes], rest: bytes, cuts: list[int]
) -> None:
    body = reference.opaque_body(frames) + rest
    for chunks in (pieces(body, cuts), [body], [bytes([byte]) for byte in body]):
        splitter = FrameSplitter()
        assert [frame for chunk in chunks for frame in splitter.feed(chunk)] == frames
        assert splitter.is_in_frame == bool(rest)


@given(
    st.lists(st.integers(0, 3).map(lambda n: bytes(3) + bytes([n])) | st.binary()).map(
        b"".join
    ),
    st.integers(0, 300),
)
def test_any_bytes_are_opaque_frames_or_too_large(body: bytes, limit: int) -> None:
    splitter = FrameSplitter(limit)
    frames, is_too_large = [], False
    try:
        for byte in body:
            frames += splitter.feed(bytes([byte]))
    except TooLargeError:
        is_too_large = True
    assert all(len(frame) <= limit for frame in frames)
    known = reference.opaque_body(frames)
    assert body.startswith(known)
    rest = body[len(known) :]
    announced = int.from_bytes(rest[:4], "big") if len(rest) >= 4 else 0
    assert is_too_large == (announced > limit)
    assert is_too_large or len(rest) < 4 + announced


def reference_reads(body: bytes) -> tuple[bytes, str | None]:
    """What the reference releases of an opaque body, and the error that ends it."""
    opener = reference.Opener(secret("client"), reference.Client(), NOW)
    released = b""
    try:
        for payload in reference.open_body(opener, reference.OPAQUE_TYPE, body):
            released += payload
    except reference.Refused as refused:
        return released, refused.name
    return released, None


def package_reads(body: bytes) -> tuple[bytes, str | None]:
    """The same of the package; the bytes come one by one."""
    opaque, released = OpaqueBody(fresh_opener(reference.OPAQUE)), b""
    try:
        for byte in body:
            released += b"".join(opaque.feed(bytes([byte])))
        released += b"".join(opaque.finish())
    except ResponseError as error:
        return released, type(error).__name__
    return released, None


@given(
    st.lists(st.sampled_from([*OPAQUE_FRAMES, FRAMES[0], b""]), max_size=5)
    | st.just(OPAQUE_FRAMES),
    st.binary(max_size=3),
    st.none() | st.tuples(st.integers(0, 700), st.integers(0, 255)),
)
def test_any_opaque_body_is_opened_as_the_reference_does(
    frames: list[bytes], rest: bytes, change: tuple[int, int] | None
) -> None:
    body = bytearray(reference.opaque_body(frames) + rest)
    if change is not None and change[0] < len(body):
        body[change[0]] = change[1]
    assert package_reads(bytes(body)) == reference_reads(bytes(body))


# Event streams

line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
lines = st.sampled_from([b"data: {}", b"data:x", b": ping", b"data", b"event: e", b""])
streams = st.lists(st.tuples(lines, line_ends), max_size=24).map(
    lambda pairs: b"".join(line + end for line, end in pairs)
) | st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\n\n"]), max_size=24).map(b"".join)


def split(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return events, splitter.rest()


@given(streams, st.lists(st.integers(0, 200), max_size=12))
@example(b"data: x\r\n\r\n", [8, 9, 10])
@example(b"data: x\n\ndata: y\n\n", [9])
def test_events_do_not_depend_on_where_the_bytes_are_cut(
    stream: bytes, cuts: list[int]
) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    events, rest = split(chunks)
    assert (events, rest) == split([stream])
    assert (events, rest) == split([bytes([byte]) for byte in stream])
    assert b"".join(events) + rest == stream


@given(streams)
@example(b"data: {}\rdata: {}\n\n")
def test_events_hold_the_data_that_the_stream_has(stream: bytes) -> None:
    events, _ = split([stream])
    # Line by line, as the standard for server-sent events reads.
    text = (b"".join(events)).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    expected: list[list[bytes]] = [[]]
    for line in text.split(b"\n"):
        if not line:
            expected.append([])
        elif line.partition(b":")[0] == b"data":
            expected[-1].append(line.partition(b":")[2].removeprefix(b" "))
    joined = [b"\n".join(data) for data in expected if data]
    found = [event_data(event) for event in events]
    assert [data for data in found if data is not None] == joined


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_the_last_event_ends_with_the_body(line_end: bytes) -> None:
    body = StreamBody(fresh_opener(), is_error=False)
    wire = b"".join(
        b'data: {"sealed":"' + frame_to_text(frame) + b'"}' + line_end * 2
        for frame in FRAMES
    )
    assert [*body.feed(wire), *body.finish()] == BODY


def test_a_sealed_error_opens_though_a_router_calls_it_a_stream() -> None:
    (frame,) = sealed(b'{"error":{}}')
    wire = b'{"error":{"message":"' + frame_to_text(frame) + b'"}}'
    body = StreamBody(fresh_opener(), is_error=True)
    assert [*body.feed(wire), *body.finish()] == [b'{"error":{}}']
    body = StreamBody(fresh_opener(), is_error=True)
    clear = b'{"error":{"message":"no"}}'
    assert [*body.feed(clear), *body.finish()] == [clear]


@pytest.mark.parametrize("size", [1, 5, 10**6])
def test_who_asked_for_frames_gets_them_though_a_router_calls_them_events(
    size: int,
) -> None:
    wire = b"".join(len(it).to_bytes(4, "big") + it for it in OPAQUE_FRAMES)
    body = MislabelledBody(fresh_opener(reference.OPAQUE), is_error=False)
    chunks = [wire[at : at + size] for at in range(0, len(wire), size)]
    payloads = [payload for chunk in chunks for payload in body.feed(chunk)]
    assert [*payloads, *body.finish()] == BODY
    # Events were not asked for.
    events = b"".join(b'data: {"a":"' + frame_to_text(it) + b'"}\n\n' for it in FRAMES)
    body = MislabelledBody(fresh_opener(reference.OPAQUE), is_error=False)
    with pytest.raises(ResponseError):
        list(body.feed(events))
