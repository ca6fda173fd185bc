"""What holds for every input: of frames, statements and event streams."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from stainedglass_output_protection.errors import (
    ClientKeyError,
    MalformedFrameError,
    ResponseError,
)
from stainedglass_output_protection.protocol.encoding import (
    frame_from_text,
    frame_to_text,
)
from stainedglass_output_protection.protocol.events import EventSplitter, event_data
from stainedglass_output_protection.protocol.fields_reader import find_frame
from stainedglass_output_protection.protocol.keys import (
    ClientKeyPair,
    parse_client_key,
)
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


def fresh_opener() -> Opener:
    """A client without a pin, so that nothing but the protocol itself protects it."""
    policy = StatementPolicy()
    private_key = X25519PrivateKey.from_private_bytes(secret("client"))
    return Opener(
        ClientKeyPair(private_key),
        accept=lambda statement: policy.accept(statement, now_ms=NOW),
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


@given(st.binary(max_size=100) | st.binary(max_size=60).map(b"sgop1.".__add__))
def test_any_body_has_a_frame_or_none(body: bytes) -> None:
    try:
        find_frame(body)
    except MalformedFrameError:
        assert b"sgop1." in body


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.just("sgop1.AAAA")
    | st.just("sgop1.AAA"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "choices delta message content text error sealed index id".split()
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(json_values)
@example({"choices": [{"delta": {"content": "sgop1.AAAA"}}]})
def test_any_json_has_a_frame_or_none(value: object) -> None:
    body = json.dumps(value).encode()
    try:
        frame = find_frame(body)
    except MalformedFrameError:
        assert b"sgop1.AAA" in body
    else:
        assert frame in {None, bytes(3)}


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
