"""What the reference seals the package opens, and what the package seals the reference."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from stainedglass_output_protection.client.exchange import Exchange
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.protocol.head import Parameters, encode_head
from stainedglass_output_protection.protocol.identity import (
    IdentityKey,
    fingerprint_of,
)
from stainedglass_output_protection.protocol.key_schedule import derive_traffic_keys
from stainedglass_output_protection.protocol.keys import (
    ClientKeyPair,
    exchange,
    parse_client_key,
)
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.routes import TABLE
from stainedglass_output_protection.protocol.sealer import Sealer
from stainedglass_output_protection.protocol.statement import (
    Statement,
    make_statement,
)
from stainedglass_output_protection.protocol.trust import StatementPolicy
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.protected_response import (
    Headers,
    ProtectedResponse,
)
from tests import reference
from tests.vectors import vocabulary

NOW = vocabulary.NOW
END = NOW + vocabulary.HOUR

keys = st.binary(min_size=32, max_size=32)
statuses = st.integers(200, 599)
content_types = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=255
)
# Events that begin alike, so that there is something to share.
payloads = st.binary(max_size=64) | st.builds(
    bytes.__add__,
    st.sampled_from([b'data: {"id":"chatcmpl-1","choices":[', b'data: {"usage":{']),
    st.binary(max_size=400),
)
bodies = st.lists(payloads, min_size=1, max_size=8)


@dataclass(frozen=True)
class Parties:
    """Two sides' private keys and a response nonce, all random."""

    client: bytes
    response: bytes
    identity: IdentityKey
    nonce: bytes

    @property
    def client_public_key(self) -> bytes:
        return reference.public_half(self.client)

    @property
    def response_public_key(self) -> bytes:
        return reference.public_half(self.response)

    @property
    def fingerprint(self) -> str:
        return reference.fingerprint(self.identity.public_key)


parties = st.builds(Parties, keys, keys, st.builds(IdentityKey.generate), keys)


# The reference's server


def reference_statement(parties: Parties, evidence_hash: bytes) -> bytes:
    unsigned = reference.Statement(
        version=1,
        epoch=NOW,
        not_after=END,
        response_public_key=parties.response_public_key,
        suites=(),
        identity=parties.identity.public_key,
        evidence_hash=evidence_hash,
    )
    signature = parties.identity.sign(unsigned.signed)
    return vocabulary.signed(unsigned, signature).encoded


def reference_seals(
    parties: Parties,
    body: Sequence[bytes],
    status: int,
    content_type: str,
    *,
    evidence_hash: bytes = bytes(32),
    shared: int = 0,
    padding: int = 0,
    container: int = reference.FIELDS,
) -> list[bytes]:
    statement = reference_statement(parties, evidence_hash)
    public_key, nonce = parties.client_public_key, parties.nonce
    parameters = (reference.VERSION, reference.SUITE, reference.PROFILE, container)
    head = reference.head_of(public_key, nonce, statement, parameters)
    dh = reference.exchange(parties.response, public_key)
    return reference.seal_response(
        reference.key_schedule(dh, public_key, nonce, head),
        head,
        body,
        status=status,
        content_type=content_type.encode("ascii"),
        shared=shared,
        padding=padding,
    )


# The package's server


def package_sealer(parties: Parties, status: int, content_type: str) -> Sealer:
    statement = make_statement(
        epoch=NOW,
        not_after=END,
        response_public_key=parties.response_public_key,
        identity=parties.identity.public_key,
        sign=parties.identity.sign,
    )
    head = encode_head(
        Parameters(),
        client_public_key=parties.client_public_key,
        response_nonce=parties.nonce,
        statement=statement.encode(),
    )
    private_key = X25519PrivateKey.from_private_bytes(parties.response)
    traffic_keys = derive_traffic_keys(
        exchange(private_key, parties.client_public_key),
        client_public_key=parties.client_public_key,
        head=head,
        response_nonce=parties.nonce,
    )
    return Sealer(traffic_keys, head=head, status=status, content_type=content_type)


# The two clients


def package_opens(parties: Parties, frames: Sequence[bytes]) -> tuple[Opener, bytes]:
    policy = StatementPolicy(frozenset({parties.fingerprint}))
    private_key = X25519PrivateKey.from_private_bytes(parties.client)
    opener = Opener(
        ClientKeyPair(private_key),
        accept=lambda statement: policy.accept(statement, now_ms=NOW),
    )
    opened = b"".join([opener.open(frame) for frame in frames])
    opener.finish()
    return opener, opened


def reference_opens(
    parties: Parties, frames: Sequence[bytes]
) -> tuple[reference.Opener, bytes]:
    client = reference.Client({parties.identity.fingerprint})
    opener = reference.Opener(parties.client, client, NOW)
    opened = b"".join([opener.open(frame) for frame in frames])
    opener.finish()
    return opener, opened


# Both ways


@given(
    parties=parties,
    body=bodies,
    status=statuses,
    content_type=content_types,
    evidence_hash=keys,
    shared=st.integers(0, 100),
    padding=st.integers(0, 300),
)
def test_package_opens_what_the_reference_seals(
    parties: Parties,
    body: list[bytes],
    status: int,
    content_type: str,
    evidence_hash: bytes,
    shared: int,
    padding: int,
) -> None:
    frames = reference_seals(
        parties,
        body,
        status,
        content_type,
        evidence_hash=evidence_hash,
        shared=shared,
        padding=padding,
    )
    opener, opened = package_opens(parties, frames)
    assert opened == b"".join(body)
    assert (opener.status, opener.content_type) == (status, content_type)


@given(parties, bodies, statuses, content_types, st.integers(0, 100))
def test_reference_opens_what_the_package_streams(
    parties: Parties, body: list[bytes], status: int, content_type: str, most: int
) -> None:
    sealer = package_sealer(parties, status, content_type)
    frames, previous = [], b""
    for i, payload in enumerate(body):
        # Frame 0 has nothing before it to share.
        shared = min(most, reference.common_prefix(previous, payload))
        is_final = i == len(body) - 1
        frames.append(sealer.seal_event(payload, shared=shared, is_final=is_final))
        previous = payload
    opener, opened = reference_opens(parties, frames)
    assert opened == b"".join(body)
    assert (opener.status, opener.content_type) == (status, content_type)


@given(parties, st.binary(max_size=5000), statuses, content_types)
def test_reference_opens_what_the_package_seals_whole(
    parties: Parties, body: bytes, status: int, content_type: str
) -> None:
    sealer = package_sealer(parties, status, content_type)
    opener, opened = reference_opens(parties, [sealer.seal_body(body)])
    assert opened == body
    assert (opener.status, opener.content_type) == (status, content_type)


@given(parties, bodies, statuses, content_types)
def test_both_seal_the_same_first_bytes(
    parties: Parties, body: list[bytes], status: int, content_type: str
) -> None:
    """Same keys, same nonce: the same head and, but for padding, the same ciphertext."""
    ours = package_sealer(parties, status, content_type).seal_body(body[0])
    theirs = reference_seals(parties, body[:1], status, content_type)[0]
    unpadded = len(theirs) - reference.TAG
    assert ours[:unpadded] == theirs[:unpadded]


# Whole bodies, package to reference

EVENT_STREAM, PLAIN_JSON = "text/event-stream; charset=utf-8", "application/json"
DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"


def named(value: dict[str, Any]) -> bytes:
    return reference.event_of(value, value["type"])


def choice(finish_reason: str | None = None, **members: Any) -> dict[str, Any]:
    inner = {"index": 0, **members, "logprobs": None, "finish_reason": finish_reason}
    return {"id": "cmpl-1", "created": 1, "model": "m", "choices": [inner]}


def unary_answers(words: str) -> dict[str, tuple[str, object]]:
    """A route's path: the carrier that its row names, and an answer."""
    part = {"type": "output_text", "text": words, "annotations": []}
    item = {"type": "message", "role": "assistant", "content": [part]}
    message = {"role": "assistant", "content": words}
    vector = {"index": 0, "embedding": [0.5, -1.25], "object": "embedding"}
    text_block = {"type": "text", "text": words}
    response = {"object": "response", "status": "completed", "output": [item]}
    return {
        "/v1/chat/completions": ("chat", choice(message=message)),
        "/v1/completions": ("completions", choice(text=words)),
        "/v1/responses": ("responses", response),
        "/v1/messages": ("messages", {"type": "message", "content": [text_block]}),
        "/v1/embeddings": ("embeddings", {"object": "list", "data": [vector]}),
        "/v1/audio/transcriptions": ("transcription", {"text": words}),
        "/detokenize": ("prompt", {"prompt": words}),
        "/score": ("sealed", {"data": [{"index": 0, "score": 0.75}], "object": "list"}),
        "/rerank": ("sealed", {"results": [{"document": {"text": words}}]}),
        "/tokenize": ("sealed", {"count": 2, "tokens": [1, 2], "token_strs": [words]}),
        "/v1/messages/count_tokens": ("sealed", {"input_tokens": 7}),
        "/invocations": ("sealed", {"anything": words}),
    }


def streamed_answers(words: str) -> dict[str, tuple[set[str], list[bytes]]]:
    """A route's path: the carriers that its row names, and the events of an answer."""
    event_of = reference.event_of
    response = {"object": "response", "status": "in_progress", "output": []}
    part = {"type": "output_text", "text": words, "annotations": []}
    item = {"type": "message", "role": "assistant", "content": [part]}
    done = {**response, "status": "completed", "output": [item]}
    block = {"type": "text", "text": ""}
    message = {"type": "message", "role": "assistant", "content": []}
    deltas = [{"type": "text_delta", "text": part} for part in (words, *words[:8])]
    return {
        "/v1/chat/completions": (
            {"chat, streamed"},
            [
                event_of(choice(delta={"role": "assistant", "content": ""})),
                event_of(choice(delta={"content": words})),
                *(event_of(choice(delta={"content": word})) for word in words[:8]),
                event_of(choice(delta={"reasoning": words})),
                event_of(choice(delta={"content": words}, finish_reason="length")),
                event_of({"choices": [], "usage": {"total_tokens": 3}}),
                DONE,
            ],
        ),
        "/v1/completions": (
            {"completions"},
            [*(event_of(choice(text=part)) for part in (words, *words[:8])), DONE],
        ),
        "/v1/responses": (
            {"response", "delta", "text", "part", "item"},
            [
                named({"type": "response.created", "response": response}),
                *(
                    named(
                        {
                            "content_index": 0,
                            "delta": part,
                            "item_id": "msg_1",
                            "logprobs": [],
                            "output_index": 0,
                            "sequence_number": number,
                            "type": "response.output_text.delta",
                        }
                    )
                    for number, part in enumerate((words, *words[:8]), 1)
                ),
                named({"type": "response.output_text.done", "text": words}),
                named({"type": "response.content_part.done", "part": part}),
                named({"type": "response.output_item.done", "item": item}),
                named({"type": "response.of_tomorrow", "words": words}),
                named({"type": "response.completed", "response": done}),
            ],
        ),
        "/v1/messages": (
            {"message", "content block", "text delta"},
            [
                named({"type": "message_start", "message": message}),
                named(
                    {"type": "content_block_start", "index": 0, "content_block": block}
                ),
                named({"type": "ping"}),
                *(
                    named({"type": "content_block_delta", "delta": delta, "index": 0})
                    for delta in deltas
                ),
                named({"type": "content_block_stop", "index": 0}),
                named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
                named({"type": "message_stop"}),
            ],
        ),
    }


PATHS = sorted(unary_answers(""))
STREAMED_PATHS = sorted(streamed_answers(""))
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
cut_points = st.lists(st.integers(0, 2000), max_size=6)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def package_answers(
    private_key: bytes,
    path: str,
    body: Sequence[bytes],
    *,
    content_type: str,
    status: int = 200,
    wants_opaque: bool = False,
) -> tuple[str, bytes]:
    """The outer content type and the body of a response by the package's server."""
    ring = KeyRing(IdentityKey.generate(), period_ms=vocabulary.HOUR)
    headers: Headers = [(b"content-type", content_type.encode("ascii"))]
    response = ProtectedResponse(
        epoch_key=ring.rotate(NOW),
        client_public_key=reference.public_half(private_key),
        route=TABLE.row(path),
        server_key_header="x-server-public-key",
        status=status,
        headers=headers,
        wants_opaque=wants_opaque,
    )
    wire = b"".join([*map(response.push, body), response.end()])
    return dict(response.headers)[b"content-type"].decode("ascii"), wire


def reference_reads(
    private_key: bytes, container: int, content_type: str, wire: bytes
) -> tuple[reference.Opener, list[bytes]]:
    opener = reference.Opener(private_key, reference.Client(), NOW, container)
    return opener, list(reference.open_body(opener, content_type, wire))


def place_of_frame(value: object, above: tuple[str | int, ...] = ()) -> set[Any]:
    """Where in the JSON the strings with the prefix stand."""
    if isinstance(value, str):
        return {above} if value.startswith(reference.PREFIX) else set()
    pairs: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    return set().union(*(place_of_frame(inner, (*above, at)) for at, inner in pairs))


def container_of(wants_opaque: bool) -> int:
    return reference.OPAQUE if wants_opaque else reference.FIELDS


@given(keys, st.sampled_from(PATHS), words, st.integers(200, 599), st.booleans())
def test_reference_reads_the_package_s_json(
    private_key: bytes, path: str, words: str, status: int, wants_opaque: bool
) -> None:
    carrier, value = unary_answers(words)[path]
    body = json.dumps(value).encode()
    content_type, wire = package_answers(
        private_key,
        path,
        [body],
        content_type=PLAIN_JSON,
        status=status,
        wants_opaque=wants_opaque,
    )
    container = container_of(wants_opaque)
    opener, opened = reference_reads(private_key, container, content_type, wire)
    assert opened == [body]
    assert (opener.status, opener.content_type) == (status, PLAIN_JSON)
    if wants_opaque:
        assert content_type == reference.OPAQUE_TYPE
    else:
        assert place_of_frame(json.loads(wire)) == {reference.CARRIERS[carrier]}


@given(keys, st.sampled_from(STREAMED_PATHS), words, cut_points, st.booleans())
def test_reference_reads_the_package_s_events(
    private_key: bytes, path: str, words: str, cuts: list[int], wants_opaque: bool
) -> None:
    carriers, events = streamed_answers(words)[path]
    content_type, wire = package_answers(
        private_key,
        path,
        pieces(b"".join([COMMENT, events[0], COMMENT, *events[1:]]), cuts),
        content_type=EVENT_STREAM,
        wants_opaque=wants_opaque,
    )
    container = container_of(wants_opaque)
    opener, opened = reference_reads(private_key, container, content_type, wire)
    assert b"".join(opened) == b"".join(events)
    assert (opener.status, opener.content_type) == (200, EVENT_STREAM)
    if wants_opaque:
        assert content_type == reference.OPAQUE_TYPE
        assert opened == [b"", events[0], b"", *events[1:]]
        return
    assert content_type == EVENT_STREAM
    known = {reference.CARRIERS[carrier] for carrier in {*carriers, "sealed"}}
    datas = [data for data in reference.event_datas(wire) if data != b"[DONE]"]
    places = [place_of_frame(json.loads(data)) for data in datas]
    assert all(len(place) <= 1 for place in places)
    assert set().union(*places) <= known


@given(keys, st.sampled_from(STREAMED_PATHS), words)
def test_the_package_shares_only_what_is_readable(
    private_key: bytes, path: str, words: str
) -> None:
    """k ends where the previous payload and its envelope part, before the carrier."""
    _, events = streamed_answers(words)[path]
    _, wire = package_answers(private_key, path, events, content_type=EVENT_STREAM)
    opener = reference.Opener(private_key, reference.Client(), NOW)
    readable = b""
    for envelope in wire.split(b"\n\n"):
        frames = map(reference.frame_in, reference.event_datas(envelope + b"\n\n"))
        for frame in filter(None, frames):
            payload = opener.open(frame)
            assert opener.k <= reference.common_prefix(readable, payload)
            before, _, _ = envelope.partition(b'"' + reference.PREFIX.encode())
            readable = before[: reference.common_prefix(before, payload)]
    opener.finish()


@given(keys, st.binary(max_size=3000), st.booleans())
def test_reference_reads_the_package_s_binary_bodies(
    private_key: bytes, body: bytes, wants_opaque: bool
) -> None:
    binary = "application/octet-stream"
    content_type, wire = package_answers(
        private_key,
        "/v1/embeddings",
        [body],
        content_type=binary,
        wants_opaque=wants_opaque,
    )
    container = container_of(wants_opaque)
    opener, opened = reference_reads(private_key, container, content_type, wire)
    assert content_type == reference.OPAQUE_TYPE
    assert (opened, opener.content_type) == ([body], binary)


# Whole bodies, reference to package


def package_reads(
    parties: Parties,
    chunks: Iterable[bytes],
    *,
    content_type: str,
    asks_opaque: bool,
) -> tuple[int, str, bytes]:
    """What the package's client reports and reads of a response with status 200."""
    policy = StatementPolicy(frozenset({parties.fingerprint}))
    key_pair = ClientKeyPair(X25519PrivateKey.from_private_bytes(parties.client))
    with mock.patch.object(ClientKeyPair, "generate", return_value=key_pair):
        exchange = Exchange(
            is_clear=False,
            settings=ClientSettings(asks_opaque=asks_opaque),
            accept=lambda statement: policy.accept(statement, now_ms=NOW),
        )
    body = exchange.receive(200, content_type)
    opened = b"".join(payload for chunk in chunks for payload in body.feed(chunk))
    opened += b"".join(body.finish())
    report = exchange.report(200, [])
    shown = dict(report.headers).get(b"content-type", b"").decode("ascii")
    return report.status, shown, opened


@given(
    parties,
    bodies,
    st.lists(st.sampled_from(sorted(reference.CARRIERS)), min_size=8, max_size=8),
    st.integers(0, 100),
    cut_points,
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_package_reads_the_reference_s_events(
    parties: Parties,
    body: list[bytes],
    carriers: list[str],
    shared: int,
    cuts: list[int],
    line_end: bytes,
) -> None:
    frames = reference_seals(parties, body, 200, EVENT_STREAM, shared=shared)
    events = [COMMENT]
    for carrier, frame in zip(carriers, frames, strict=False):
        text = reference.text_of(frame)
        around = reference.json_around(text, reference.CARRIERS[carrier])
        events += [reference.event_of(around, carrier), reference.event_of({})]
    wire = b"".join([*events, DONE]).replace(b"\n", line_end)
    chunks = pieces(wire, cuts)
    read = package_reads(parties, chunks, content_type=EVENT_STREAM, asks_opaque=False)
    assert read == (200, EVENT_STREAM, b"".join(body))


@given(parties, st.binary(max_size=2000), st.sampled_from(sorted(reference.CARRIERS)))
def test_package_reads_the_reference_s_json(
    parties: Parties, body: bytes, carrier: str
) -> None:
    (frame,) = reference_seals(parties, [body], 404, PLAIN_JSON, padding=100)
    text = reference.text_of(frame)
    wire = json.dumps(reference.json_around(text, reference.CARRIERS[carrier])).encode()
    read = package_reads(parties, [wire], content_type=PLAIN_JSON, asks_opaque=False)
    assert read == (404, PLAIN_JSON, body)


@given(parties, bodies, content_types, st.integers(0, 100), cut_points, st.booleans())
def test_package_reads_the_reference_s_opaque_bodies(
    parties: Parties,
    body: list[bytes],
    content_type: str,
    shared: int,
    cuts: list[int],
    asks_opaque: bool,
) -> None:
    opaque = reference.OPAQUE
    frames = reference_seals(
        parties, body, 201, content_type, shared=shared, container=opaque
    )
    read = package_reads(
        parties,
        pieces(reference.opaque_body(frames), cuts),
        content_type=reference.OPAQUE_TYPE,
        asks_opaque=asks_opaque,
    )
    assert read == (201, content_type, b"".join(body))


# The small formats


@given(parties)
def test_both_read_each_others_client_key(parties: Parties) -> None:
    private_key = X25519PrivateKey.from_private_bytes(parties.client)
    header = ClientKeyPair(private_key).header_value
    assert reference.client_key(header) == parties.client_public_key
    assert parse_client_key(header) == parties.client_public_key


@given(keys)
def test_both_give_an_identity_the_same_fingerprint(identity: bytes) -> None:
    assert fingerprint_of(identity) == reference.fingerprint(identity)


@given(parties, keys)
def test_both_parse_the_same_statement(parties: Parties, evidence_hash: bytes) -> None:
    encoded = reference_statement(parties, evidence_hash)
    ours, end = Statement.parse_prefix(encoded + b"ciphertext")
    theirs, rest = reference.parse_statement(encoded + b"ciphertext")
    assert end == len(encoded)
    assert rest == b"ciphertext"
    assert ours.encode() == theirs.encoded == encoded
    assert ours.signed_message == theirs.signed
