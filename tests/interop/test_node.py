"""The client in JavaScript: every vector, both ways with the package, and live."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from stainedglass_output_protection.client.bodies import (
    Body,
    OpaqueBody,
    StreamBody,
    UnaryBody,
)
from stainedglass_output_protection.protocol.constants import (
    CONTAINER_FIELDS,
    CONTAINER_OPAQUE,
    PROFILE_OUTPUT,
    PROFILE_SEALED,
)
from stainedglass_output_protection.protocol.encoding import frame_to_text
from stainedglass_output_protection.protocol.epoch_keys import EpochKeys
from stainedglass_output_protection.protocol.head import Parameters
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.key_schedule import (
    NO_REQUEST,
    RequestSecrets,
)
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.routes import TABLE
from stainedglass_output_protection.protocol.sealed_request import (
    SealedMessage,
    SealedRequest,
    request_info,
)
from stainedglass_output_protection.protocol.statement import make_statement
from stainedglass_output_protection.protocol.suites import SUITE_NUMBERS, seal
from stainedglass_output_protection.protocol.trust import StatementPolicy
from stainedglass_output_protection.server.protected_response import ProtectedResponse
from stainedglass_output_protection.server.response_keys import ResponseKeys
from tests.interop import node
from tests.interop.live import CHAT, EVENTS

VECTORS = Path(__file__).parents[1] / "vectors"
NOW = 1_800_000_000_000
HOUR = 3_600_000
EVENT_STREAM, JSON = "text/event-stream", "application/json"
CONTAINERS = (CONTAINER_FIELDS, CONTAINER_OPAQUE)

suites = pytest.mark.parametrize("suite", SUITE_NUMBERS)
containers = pytest.mark.parametrize("container", CONTAINERS)
# None is profile `output`.
profiles = pytest.mark.parametrize("suite", [None, *SUITE_NUMBERS])


# The vectors


def test_every_vector_on_the_newest_node() -> None:
    summary = node.vectors(VECTORS, node.newest())
    assert summary["failed"] == {}
    assert summary["skipped"] == {}
    assert summary["passed"] == len(list(VECTORS.glob("*.json")))


def test_every_vector_of_suite_1_on_the_machine_s_node() -> None:
    machines = node.on_path()
    if machines is None:
        pytest.skip("this machine has no Node of its own; the newest one is tested")
    summary = node.vectors(VECTORS, machines)
    assert summary["failed"] == {}
    assert summary["skipped"].keys() <= {"this Node has no suite 2"}
    assert summary["passed"] > len(list(VECTORS.glob("*.json"))) // 2


# Both ways: what one seals the other opens


class Parties(NamedTuple):
    """A server's epoch and a client."""

    epoch_secret: bytes
    epoch: EpochKeys
    identity: IdentityKey
    document: KeyDocument
    private_key: bytes
    key_pair: ClientKeyPair

    @property
    def given(self) -> dict[str, Any]:
        """What the client in JavaScript is told."""
        return {
            "pins": [self.identity.fingerprint],
            "now_ms": NOW,
            "client_private_key": self.private_key.hex(),
        }


@pytest.fixture
def parties() -> Parties:
    epoch_secret, private_key = secrets.token_bytes(32), secrets.token_bytes(32)
    epoch, identity = EpochKeys(epoch_secret), IdentityKey.generate()
    statement = make_statement(
        epoch=NOW - 1000,
        not_after=NOW + HOUR,
        response_public_key=epoch.response_public_key,
        identity=identity.public_key,
        sign=identity.sign,
        suite_public_keys=epoch.suite_public_keys,
    )
    document = KeyDocument(statement, epoch.suite_public_keys, NOW + HOUR)
    key_pair = ClientKeyPair(X25519PrivateKey.from_private_bytes(private_key))
    return Parties(epoch_secret, epoch, identity, document, private_key, key_pair)


REQUEST = SealedRequest(
    response_secret=b"\1" * 32,
    owner=b"\2" * 32,
    time_ms=NOW,
    container=CONTAINER_FIELDS,
    method="POST",
    target="/v1/chat/completions?größe=1",
    content_type=JSON,
    authorization="Bearer key",
    body='{"model": "m", "messages": "größe"}'.encode() * 100,
)


@suites
@containers
def test_the_package_opens_a_request_that_node_seals(
    parties: Parties, suite: int, container: int
) -> None:
    sealed = node.call(
        "seal",
        **parties.given,
        document=parties.document.to_text(),
        suite=suite,
        owner=REQUEST.owner.hex(),
        container=container,
        method=REQUEST.method,
        target=REQUEST.target,
        content_type=REQUEST.content_type,
        authorization=REQUEST.authorization,
        body=REQUEST.body.hex(),
    )
    message = SealedMessage.from_text(sealed["text"])
    statement = parties.document.statement
    assert message.suite == suite
    assert message.key_id == statement.key_id
    assert message.client_public_key == parties.key_pair.public_key
    opened = message.open(statement.digest, parties.epoch.open)
    kept = sealed["sealed_to"]
    response_secret = bytes.fromhex(kept["response_secret"])
    assert opened == replace(
        REQUEST, response_secret=response_secret, container=container
    )
    assert kept["request_hash"] == message.request_hash.hex()
    assert kept["digest"] == statement.digest.hex()


@suites
def test_node_opens_a_request_that_the_package_seals(
    parties: Parties, suite: int
) -> None:
    message = package_seals_request(parties, suite)
    opened = node.call(
        "receive",
        now_ms=NOW,
        text=message.to_text(),
        epoch_secret=parties.epoch_secret.hex(),
        statement=parties.document.statement.encode().hex(),
    )
    assert opened == {
        "client_public_key": parties.key_pair.public_key.hex(),
        "sealed_to": sealed_to(parties, message),
        "owner": REQUEST.owner.hex(),
        "time_ms": REQUEST.time_ms,
        "container": REQUEST.container,
        "method": REQUEST.method,
        "target": REQUEST.target,
        "content_type": REQUEST.content_type,
        "authorization": REQUEST.authorization,
        "body": REQUEST.body.hex(),
    }


def package_seals_request(parties: Parties, suite: int) -> SealedMessage:
    statement = parties.document.statement
    client_public_key = parties.key_pair.public_key
    info = request_info(suite, statement.digest, client_public_key)
    public_key = parties.document.suite_public_keys[suite]
    ciphertext = seal(suite, public_key, REQUEST.encode(), info)
    return SealedMessage(suite, statement.key_id, client_public_key, ciphertext)


def sealed_to(parties: Parties, message: SealedMessage) -> dict[str, Any]:
    return {
        "suite": message.suite,
        "digest": parties.document.statement.digest.hex(),
        "response_secret": REQUEST.response_secret.hex(),
        "request_hash": message.request_hash.hex(),
    }


class Asked(NamedTuple):
    """What an answer depends on, for either side."""

    secrets: RequestSecrets
    sealed_to: dict[str, Any] | None
    suite: int
    profile: int


def asked(parties: Parties, suite: int | None) -> Asked:
    if suite is None:
        return Asked(NO_REQUEST, None, 1, PROFILE_OUTPUT)
    message = package_seals_request(parties, suite)
    request = RequestSecrets(
        REQUEST.response_secret,
        message.request_hash,
        parties.document.statement.digest,
    )
    return Asked(request, sealed_to(parties, message), suite, PROFILE_SEALED)


UNARY = [b'{"choices": [{"index": 0, "message": {"content": "gr\xc3\xb6\xc3\x9fe"}}]}']
BODIES = {EVENT_STREAM: EVENTS, JSON: UNARY}
content_types = pytest.mark.parametrize("content_type", BODIES)


@profiles
@containers
@content_types
def test_node_opens_an_answer_that_the_package_seals(
    parties: Parties, suite: int | None, container: int, content_type: str
) -> None:
    request = asked(parties, suite)
    response = ProtectedResponse(
        keys=ResponseKeys(
            parties.key_pair.public_key,
            parties.epoch.exchange(parties.key_pair.public_key),
            parties.document.statement.encode(),
            "",
            request.suite,
            request.profile,
            request.secrets,
        ),
        route=TABLE.row(CHAT),
        server_key_header="x-server-public-key",
        status=200,
        headers=[(b"content-type", content_type.encode())],
        wants_opaque=container == CONTAINER_OPAQUE,
    )
    body = BODIES[content_type]
    wire = b"".join([*map(response.push, body), response.end()])
    opened = node.call(
        "open",
        **parties.given,
        container=container,
        sealed_to=request.sealed_to,
        content_type=dict(response.headers)[b"content-type"].decode(),
        chunks=[wire[at : at + 100].hex() for at in range(0, len(wire), 100)],
    )
    assert b"".join(map(bytes.fromhex, opened["payloads"])) == b"".join(body)
    assert (opened["status"], opened["content_type"]) == (200, content_type)


@profiles
@containers
@content_types
def test_the_package_opens_an_answer_that_node_seals(
    parties: Parties, suite: int | None, container: int, content_type: str
) -> None:
    request = asked(parties, suite)
    body = BODIES[content_type]
    frames = node_seals(parties, request, body, container, content_type)
    policy = StatementPolicy(frozenset({parties.identity.fingerprint}))
    opener = Opener(
        parties.key_pair,
        accept=lambda statement: policy.accept(statement, now_ms=NOW),
        parameters=Parameters(
            suite=request.suite, profile=request.profile, container=container
        ),
        request=None if suite is None else request.secrets,
    )
    reader, wire = carried(frames, container, content_type, opener)
    assert b"".join([*reader.feed(wire), *reader.finish()]) == b"".join(body)
    assert (opener.status, opener.content_type) == (201, content_type)


def node_seals(
    parties: Parties,
    request: Asked,
    body: list[bytes],
    container: int,
    content_type: str,
) -> list[bytes]:
    sealed = node.call(
        "respond",
        statement=parties.document.statement.encode().hex(),
        epoch_secret=parties.epoch_secret.hex(),
        client_public_key=parties.key_pair.public_key.hex(),
        nonce=secrets.token_hex(32),
        container=container,
        sealed_to=request.sealed_to,
        status=201,
        content_type=content_type,
        payloads=[payload.hex() for payload in body],
        padding=77,
    )
    return [bytes.fromhex(frame) for frame in sealed["frames"]]


def carried(
    frames: list[bytes], container: int, content_type: str, opener: Opener
) -> tuple[Body, bytes]:
    """The bytes on the wire, and what the package reads them with."""
    if container == CONTAINER_OPAQUE:
        lengths = [len(frame).to_bytes(4, "big") for frame in frames]
        wire = b"".join(a + b for a, b in zip(lengths, frames, strict=True))
        return OpaqueBody(opener), wire
    texts = map(frame_to_text, frames)
    if content_type == EVENT_STREAM:
        wire = b"".join(b'data: ["%b"]\n\n' % text for text in texts)
        return StreamBody(opener, is_error=False), wire
    (text,) = texts
    return UnaryBody(opener, is_error=False), b'["%b"]' % text


# What JavaScript would get wrong by itself


@pytest.mark.parametrize(
    ("content_type", "wire"),
    [
        (JSON, b'{"b": "%b", "10": "sgop1.AAAA", "2": "sgop1.AAAA"}'),
        (JSON, b'{"\\"\\\\": 0, "b" :{"a" : "%b"},"1" : "sgop1.AAAA"}'),
        (JSON, b"[" * 500 + b'"%b"' + b"]" * 500),
        (EVENT_STREAM, b'data: {"a":\r\ndata:"%b"}\r\n\r\n'),
        (EVENT_STREAM, b'data\rdata: ["%b"]\r\r'),
    ],
)
def test_node_finds_the_first_string_with_the_prefix(
    parties: Parties, content_type: str, wire: bytes
) -> None:
    request = asked(parties, None)
    (frame,) = node_seals(parties, request, UNARY, CONTAINER_FIELDS, content_type)
    around = wire % frame_to_text(frame)
    opened = node.call(
        "open",
        **parties.given,
        container=CONTAINER_FIELDS,
        content_type=content_type,
        chunks=[bytes([byte]).hex() for byte in around],
    )
    assert opened["payloads"] == [UNARY[0].hex()]
