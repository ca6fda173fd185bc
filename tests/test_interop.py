"""What the reference seals the package opens, and what the package seals the reference."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from unittest import mock
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from stainedglass_output_protection.client.exchange import Exchange
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.protocol import owner as package_owner
from stainedglass_output_protection.protocol.constants import SEALED_REQUEST_HEADER
from stainedglass_output_protection.protocol.epoch_keys import EpochKeys
from stainedglass_output_protection.protocol.head import Parameters, encode_head
from stainedglass_output_protection.protocol.identity import (
    IdentityKey,
    fingerprint_of,
)
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.key_schedule import (
    RequestSecrets,
    derive_traffic_keys,
)
from stainedglass_output_protection.protocol.keys import (
    ClientKeyPair,
    exchange,
    parse_client_key,
)
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.ratchet import Ratchet
from stainedglass_output_protection.protocol.request_carriers import (
    carrier_of,
    outer_json,
    outer_multipart,
    target_of,
    text_in,
)
from stainedglass_output_protection.protocol.routes import TABLE
from stainedglass_output_protection.protocol.sealed_request import (
    SealedMessage,
    SealedRequest,
    request_info,
)
from stainedglass_output_protection.protocol.sealer import Sealer
from stainedglass_output_protection.protocol.statement import (
    Statement,
    make_statement,
)
from stainedglass_output_protection.protocol.suites import seal
from stainedglass_output_protection.protocol.trust import StatementPolicy
from stainedglass_output_protection.server.protected_response import (
    Headers,
    ProtectedResponse,
)
from stainedglass_output_protection.server.response_keys import output_keys
from tests import reference
from tests.rings import own_ring
from tests.vectors import sealed_vocabulary, vocabulary

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
    ring = own_ring(vocabulary.HOUR)
    ring.tick(NOW)
    client_public_key = reference.public_half(private_key)
    headers: Headers = [(b"content-type", content_type.encode("ascii"))]
    response = ProtectedResponse(
        keys=output_keys(ring.current(NOW), client_public_key),
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


# Profile sealed


@dataclass(frozen=True)
class Sealing:
    """A request, the epoch it is sealed to, and randomness to seal it with."""

    epoch_secret: bytes
    client: bytes
    suite: int
    request: reference.SealedRequest
    randomness: bytes
    ephemeral: bytes

    @property
    def client_public_key(self) -> bytes:
        return reference.public_half(self.client)

    @property
    def statement(self) -> reference.Statement:
        keys = reference.EpochKeys(self.epoch_secret)
        return vocabulary.statement(
            epoch=NOW,
            not_after=END,
            response_public_key=keys.response_public_key,
            suites=[
                (u, reference.sha256(key)) for u, key in keys.suite_public_keys.items()
            ],
        )

    @property
    def epoch(self) -> reference.Epoch:
        return reference.Epoch(
            reference.EpochKeys(self.epoch_secret), self.statement, END
        )

    @property
    def info(self) -> bytes:
        digest = self.statement.digest
        return reference.request_info(self.suite, digest, self.client_public_key)

    @property
    def sealed_request(self) -> SealedRequest:
        """The package's form of the request."""
        return SealedRequest(*vars(self.request).values())


suites = st.sampled_from(sealed_vocabulary.BOTH_SUITES)
some_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
sealed_requests = st.builds(
    reference.SealedRequest,
    response_secret=keys,
    owner=keys,
    time=st.integers(1, NOW),
    container=st.sampled_from([reference.FIELDS, reference.OPAQUE]),
    method=some_text,
    target=some_text,
    content_type=some_text,
    authorization=some_text,
    body=st.binary(max_size=3000),
)
sealings = st.builds(Sealing, keys, keys, suites, sealed_requests, keys, keys)


@given(sealings)
def test_package_opens_the_request_that_the_reference_seals(sealing: Sealing) -> None:
    public_key = reference.EpochKeys(sealing.epoch_secret).suite_public_keys[
        sealing.suite
    ]
    if sealing.suite == reference.SUITE:
        enc = reference.public_half(sealing.ephemeral)
        dh = reference.exchange(sealing.ephemeral, public_key)
        shared = reference.dhkem_secret(dh, enc, public_key)
    else:
        enc, shared = sealed_vocabulary.xwing(
            public_key, sealing.randomness, sealing.ephemeral
        )
    sealed = reference.hpke_seal(
        sealing.suite, enc, shared, sealing.info, sealing.request.plaintext
    )
    digest = sealing.statement.digest
    header = reference.message_header(
        sealing.suite, digest[:8], sealing.client_public_key
    )
    message = SealedMessage.from_text(reference.request_text(header + sealed))
    assert message.client_public_key == sealing.client_public_key
    assert message.request_hash == reference.sha256(header + sealed)
    opened = message.open(digest, EpochKeys(sealing.epoch_secret).open)
    assert opened == sealing.sealed_request
    assert opened.encode() == sealing.request.plaintext


@given(sealings)
def test_reference_opens_the_request_that_the_package_seals(sealing: Sealing) -> None:
    keys = EpochKeys(sealing.epoch_secret)
    digest = sealing.statement.digest
    info = request_info(sealing.suite, digest, sealing.client_public_key)
    assert info == sealing.info
    plaintext = sealing.sealed_request.encode()
    message = SealedMessage(
        sealing.suite,
        digest[:8],
        sealing.client_public_key,
        seal(sealing.suite, keys.suite_public_keys[sealing.suite], plaintext, info),
    )
    server = reference.Server([sealing.epoch])
    assert server.open(message.to_text(), (), NOW) == sealing.request


PREFIXED_PATHS = [
    "/v1/chat/completions",
    "/gw/v1/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/embeddings",
    "/rerank",
    "/a/b/tokenize",
    "/v1/unknown",
]


@given(keys, st.sampled_from(PREFIXED_PATHS), st.booleans())
def test_both_find_what_the_package_carries(
    message: bytes, path: str, is_upload: bool
) -> None:
    text = reference.request_text(message)
    if is_upload:
        content_type, body = outer_multipart(text, {"model": "m"})
    else:
        content_type = PLAIN_JSON
        body = outer_json(carrier_of(path), text, {"model": "m", "stream": True})
        prompt: Any = {"messages": [{"role": "user", "content": text}]}
        wanted: dict[str, Any] = {
            "/v1/chat/completions": prompt,
            "/gw/v1/completions": {"prompt": text},
            "/v1/messages": {**prompt, "max_tokens": 1},
            "/v1/messages/count_tokens": prompt,
            "/v1/responses": {"input": text},
            "/v1/embeddings": {"input": text},
            "/rerank": {"query": text, "documents": [""]},
        }.get(path, {"sealed": text})
        assert json.loads(body) == {"model": "m", "stream": True, **wanted}
    request = reference.HttpRequest(
        "POST", path, "", [("content-type", content_type)], body
    )
    assert text_in(content_type, body) == text
    assert reference.texts_in(request) == [text]
    assert reference.routed(content_type, body)["model"] in ("m", b"m")
    in_header = [(SEALED_REQUEST_HEADER, text)]
    without_body = reference.HttpRequest("GET", path, "", in_header, b"")
    assert reference.texts_in(without_body) == [text]


segments = st.sampled_from(
    "|v1|%76%31|V1|v1x|chat|completions|rerank|a/b|7|metrics|%2Fv1%2F|caf%C3%A9".split(
        "|"
    )
)


@given(st.lists(segments, max_size=6), st.sampled_from(["", "a=b", "x=%20&y"]))
def test_both_see_the_same_target(path: list[str], query: str) -> None:
    raw = "/" + "/".join(path)
    assert target_of(unquote(raw), query) == reference.target_of(raw, query)


@given(parties, keys, st.integers(0, 2**64 - 1), st.binary(max_size=50), suites)
def test_both_read_each_others_key_document(
    parties: Parties, epoch_secret: bytes, retires_at: int, evidence: bytes, most: int
) -> None:
    public_keys = {
        u: key
        for u, key in EpochKeys(epoch_secret).suite_public_keys.items()
        if u <= most
    }
    evidence_hash = reference.sha256(evidence) if evidence else bytes(32)
    statement = make_statement(
        epoch=NOW,
        not_after=END,
        response_public_key=parties.response_public_key,
        identity=parties.identity.public_key,
        sign=parties.identity.sign,
        suite_public_keys=public_keys,
        evidence_hash_of=lambda _: evidence_hash,
    )
    ours = KeyDocument(statement, public_keys, retires_at, evidence)
    theirs = reference.parse_document(ours.to_text())
    assert theirs.statement.encoded == statement.encode()
    assert theirs.statement.digest == statement.digest
    assert theirs.statement.key_id == statement.key_id
    assert theirs.suite_public_keys == public_keys
    assert (theirs.retires_at, theirs.evidence) == (retires_at, evidence)
    reference.Client().accept(theirs.statement, NOW)
    assert KeyDocument.from_text(reference.document_text(theirs.encoded)) == ours


@given(parties, suites, bodies, keys, keys, st.sampled_from([1, 2]))
def test_package_opens_the_sealed_answer_of_the_reference(
    parties: Parties,
    suite: int,
    body: list[bytes],
    response_secret: bytes,
    request_hash: bytes,
    container: int,
) -> None:
    statement = reference_statement(parties, bytes(32))
    public_key, nonce = parties.client_public_key, parties.nonce
    parameters = (reference.VERSION, suite, reference.SEALED_PROFILE, container)
    head = reference.head_of(public_key, nonce, statement, parameters)
    dh = reference.exchange(parties.response, public_key)
    traffic_keys = reference.key_schedule(
        dh, public_key, nonce, head, response_secret, request_hash
    )
    frames = reference.seal_response(traffic_keys, head, body)
    parsed, _ = Statement.parse_prefix(statement)
    opener = Opener(
        ClientKeyPair(X25519PrivateKey.from_private_bytes(parties.client)),
        accept=lambda statement: None,
        parameters=Parameters(
            suite=suite, profile=reference.SEALED_PROFILE, container=container
        ),
        request=RequestSecrets(response_secret, request_hash, parsed.digest),
    )
    assert b"".join([opener.open(frame) for frame in frames]) == b"".join(body)
    opener.finish()


@given(keys, suites, st.sampled_from(STREAMED_PATHS), words, keys, keys, st.booleans())
def test_reference_opens_the_sealed_answer_of_the_package(
    private_key: bytes,
    suite: int,
    path: str,
    words: str,
    response_secret: bytes,
    request_hash: bytes,
    wants_opaque: bool,
) -> None:
    _, events = streamed_answers(words)[path]
    ring = own_ring(vocabulary.HOUR)
    ring.tick(NOW)
    epoch_key = ring.current(NOW)
    digest = epoch_key.statement.digest
    answer = ProtectedResponse(
        keys=output_keys(epoch_key, reference.public_half(private_key))._replace(
            suite=suite,
            profile=reference.SEALED_PROFILE,
            request=RequestSecrets(response_secret, request_hash, digest),
        ),
        route=TABLE.row(path),
        server_key_header="x-server-public-key",
        status=200,
        headers=[(b"content-type", EVENT_STREAM.encode("ascii"))],
        wants_opaque=wants_opaque,
    )
    wire = b"".join([*map(answer.push, events), answer.end()])
    opener = reference.Opener(
        private_key,
        reference.Client(),
        NOW,
        container_of(wants_opaque),
        reference.SealedTo(suite, response_secret, request_hash, digest),
    )
    content_type = dict(answer.headers)[b"content-type"].decode("ascii")
    opened = reference.open_body(opener, content_type, wire)
    assert b"".join(opened) == b"".join(events)


@given(keys, st.integers(0, 10))
def test_both_turn_the_same_ratchet(secret: bytes, steps: int) -> None:
    ratchet = Ratchet(0, secret)
    ratchet.skip_to(steps)
    for _ in range(steps):
        secret = reference.next_ratchet_secret(secret)
    assert ratchet.take() == reference.fleet_epoch_secret(secret)


@given(keys, keys)
def test_both_know_the_same_owner(owner: bytes, other: bytes) -> None:
    assert package_owner.cache_salt(owner) == reference.cache_salt(owner)
    made = package_owner.new_response_id(owner)
    reference.require_owner(owner, made)
    assert package_owner.owns_response(owner, reference.response_id(owner, other[:16]))
    assert package_owner.owns_response(other, made) == (owner == other)
