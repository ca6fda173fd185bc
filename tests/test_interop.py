"""What the reference seals the package opens, and what the package seals the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

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
from stainedglass_output_protection.protocol.sealer import Sealer
from stainedglass_output_protection.protocol.statement import (
    Statement,
    make_statement,
)
from stainedglass_output_protection.protocol.trust import StatementPolicy
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
) -> list[bytes]:
    statement = reference_statement(parties, evidence_hash)
    public_key, nonce = parties.client_public_key, parties.nonce
    head = reference.head_of(public_key, nonce, statement)
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
