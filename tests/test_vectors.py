"""Every vector against the package and against the reference (``tests/vectors``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from stainedglass_output_protection.client.exchange import Exchange
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.errors import (
    ClientKeyError,
    OutputProtectionError,
    ResponseError,
    TrailingDataError,
)
from stainedglass_output_protection.protocol.fields_reader import find_frame
from stainedglass_output_protection.protocol.head import Parameters
from stainedglass_output_protection.protocol.keys import (
    ClientKeyPair,
    parse_client_key,
)
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.statement import Statement
from stainedglass_output_protection.protocol.trust import StatementPolicy
from tests import reference
from tests.vectors import generate

VECTORS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted(generate.FOLDER.glob("*.json"))
}
CLIENT_KEYS = {name: v for name, v in VECTORS.items() if "header" in v}
BODIES = {name: v for name, v in VECTORS.items() if "body" in v}
FRAMES = {name: v for name, v in VECTORS.items() if not v.keys() & {"header", "body"}}
RESPONSES = FRAMES | BODIES

ABOUT = {"description", "spec", "expect"}
GIVEN = {"client_private_key", "pins", "now_ms", "container", "finish"}
ON_SUCCESS = {"status", "content_type", "payload_sha256"}
ON_FAILURE = {"released_sha256"}
ONE_OF = ({"frames"}, {"frame_texts"}, {"seal"}, {"body"})
BODY = ({"content_type", "text"}, {"content_type", "hex"})
SEAL = {
    "response_private_key",
    "response_nonce",
    "statement",
    "status",
    "content_type",
    "repeat",
    "frames_sha256",
}

# What no vector can show: it is about the outer status.
NOT_IN_VECTORS = {"RedirectRefusedError"}


def leaves(error: type[ResponseError]) -> set[str]:
    below = error.__subclasses__()
    return set().union(*map(leaves, below)) if below else {error.__name__}


# Where the package does not do yet what the page says.
responses = pytest.mark.parametrize("vector", RESPONSES.values(), ids=RESPONSES)
frames_only = pytest.mark.parametrize("vector", FRAMES.values(), ids=FRAMES)
bodies = pytest.mark.parametrize("vector", BODIES.values(), ids=BODIES)
client_keys = pytest.mark.parametrize("vector", CLIENT_KEYS.values(), ids=CLIENT_KEYS)


# The files themselves


def test_there_are_vectors() -> None:
    assert CLIENT_KEYS
    assert FRAMES
    assert BODIES


def test_the_files_are_what_the_cases_say() -> None:
    assert generate.differences() == []


@client_keys
def test_client_key_vector_has_known_members(vector: dict[str, Any]) -> None:
    assert vector.keys() == ABOUT | {"header"}
    assert vector["expect"] in {"success", "ClientKeyError"}


@responses
def test_response_vector_has_known_members(vector: dict[str, Any]) -> None:
    succeeds = vector["expect"] == "success"
    rest = vector.keys() - ABOUT - GIVEN - {"accepted_before"}
    assert vector.keys() > ABOUT | GIVEN
    assert rest - (ON_SUCCESS if succeeds else ON_FAILURE) in ONE_OF
    assert rest > (ON_SUCCESS if succeeds else ON_FAILURE)
    assert succeeds or vector["expect"] in leaves(ResponseError)
    assert not succeeds or vector["finish"]
    assert all(
        earlier.keys() == {"statement", "now_ms"}
        for earlier in vector.get("accepted_before", ())
    )
    if "seal" in vector:
        assert vector["seal"].keys() == SEAL
        assert vector["seal"]["repeat"].keys() == {"unit", "count"}
    if "body" in vector:
        assert vector["body"].keys() in BODY


def test_every_vector_names_a_heading() -> None:
    specification = generate.FOLDER.parents[1] / "docs" / "protocol.md"
    lines = specification.read_text("utf-8").splitlines()
    headings = (line.strip("# ") for line in lines if line.startswith("#"))
    anchors = {h.lower().replace(" ", "-").replace("`", "") for h in headings}
    assert {v["spec"].removeprefix("protocol.md#") for v in VECTORS.values()} <= anchors


def test_most_vectors_are_failures() -> None:
    for vectors in (CLIENT_KEYS, FRAMES, BODIES):
        successes = [v for v in vectors.values() if v["expect"] == "success"]
        assert len(vectors) - len(successes) >= 3 * len(successes) > 0


def test_every_error_has_a_vector() -> None:
    shown = {vector["expect"] for vector in RESPONSES.values()} - {"success"}
    assert shown == leaves(ResponseError) - NOT_IN_VECTORS


# Client keys


@client_keys
def test_package_reads_client_key(vector: dict[str, Any]) -> None:
    if vector["expect"] == "success":
        assert len(parse_client_key(vector["header"])) == 32
        return
    with pytest.raises(ClientKeyError) as caught:
        parse_client_key(vector["header"])
    assert (caught.value.status, caught.value.code) == (400, "client_key_malformed")


@client_keys
def test_reference_reads_client_key(vector: dict[str, Any]) -> None:
    if vector["expect"] == "success":
        assert len(reference.client_key(vector["header"])) == 32
        return
    with pytest.raises(reference.Refused, match=r"^ClientKeyError$"):
        reference.client_key(vector["header"])


# Frames


def sealed_frames(seal: dict[str, Any], client_private_key: bytes) -> list[bytes]:
    """What ``seal`` says, sealed by the reference."""
    public_key = reference.public_half(client_private_key)
    statement = bytes.fromhex(seal["statement"])
    nonce = bytes.fromhex(seal["response_nonce"])
    dh = reference.exchange(bytes.fromhex(seal["response_private_key"]), public_key)
    head = reference.head_of(public_key, nonce, statement)
    payload = bytes.fromhex(seal["repeat"]["unit"]) * seal["repeat"]["count"]
    frames = reference.seal_response(
        reference.key_schedule(dh, public_key, nonce, head),
        head,
        [payload],
        status=seal["status"],
        content_type=seal["content_type"].encode("ascii"),
    )
    assert hashlib.sha256(b"".join(frames)).hexdigest() == seal["frames_sha256"]
    return frames


def event_data_around(carried: str) -> bytes:
    choice = {"index": 0, "delta": {"content": carried}, "finish_reason": None}
    return json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode()


Step = Callable[[], bytes]


def steps(
    vector: dict[str, Any],
    open_frame: Callable[[bytes], bytes],
    open_text: Callable[[str], bytes],
    finish: Callable[[], None],
) -> Iterable[Step]:
    """The calls that a vector describes; each returns what it releases."""

    def end() -> bytes:
        finish()
        return b""

    if "seal" in vector:
        client_private_key = bytes.fromhex(vector["client_private_key"])
        frames = sealed_frames(vector["seal"], client_private_key)
    else:
        frames = [bytes.fromhex(frame) for frame in vector.get("frames", ())]
    yield from (lambda f=frame: open_frame(f) for frame in frames)
    yield from (lambda t=text: open_text(t) for text in vector.get("frame_texts", ()))
    if vector["finish"]:
        yield end


def run(
    calls: Iterable[Step], failure: type[Exception]
) -> tuple[bytes, Exception | None]:
    """What was released, and the failure that ended it."""
    released = b""
    for call in calls:
        try:
            released += call()
        except failure as error:
            return released, error
    return released, None


def package_policy(vector: dict[str, Any]) -> StatementPolicy:
    pins = vector["pins"]
    policy = StatementPolicy(None if pins is None else frozenset(pins))
    for earlier in vector.get("accepted_before", ()):
        encoded = bytes.fromhex(earlier["statement"])
        statement, end = Statement.parse_prefix(encoded)
        assert end == len(encoded)
        policy.accept(statement, now_ms=earlier["now_ms"])
    return policy


def package_key_pair(vector: dict[str, Any]) -> ClientKeyPair:
    private_key = bytes.fromhex(vector["client_private_key"])
    return ClientKeyPair(X25519PrivateKey.from_private_bytes(private_key))


def package_opener(vector: dict[str, Any]) -> tuple[Opener, list[Step]]:
    policy = package_policy(vector)
    opener = Opener(
        package_key_pair(vector),
        accept=lambda statement: policy.accept(statement, now_ms=vector["now_ms"]),
        parameters=Parameters(container=vector["container"]),
    )

    def open_text(carried: str) -> bytes:
        frame = find_frame(event_data_around(carried))
        return b"" if frame is None else opener.open(frame)

    return opener, list(steps(vector, opener.open, open_text, opener.finish))


def reference_client(vector: dict[str, Any]) -> reference.Opener:
    client = reference.Client(vector["pins"])
    for earlier in vector.get("accepted_before", ()):
        encoded = bytes.fromhex(earlier["statement"])
        statement, rest = reference.parse_statement(encoded)
        assert rest == b""
        client.accept(statement, earlier["now_ms"])
    private_key = bytes.fromhex(vector["client_private_key"])
    return reference.Opener(private_key, client, vector["now_ms"], vector["container"])


def reference_opener(vector: dict[str, Any]) -> tuple[reference.Opener, list[Step]]:
    opener = reference_client(vector)

    def open_text(carried: str) -> bytes:
        if not carried.startswith(reference.PREFIX):
            return b""
        return opener.open(reference.frame_of(carried))

    return opener, list(steps(vector, opener.open, open_text, opener.finish))


def check(
    vector: dict[str, Any],
    released: bytes,
    error_name: str | None,
    status: int | None,
    content_type: str | None,
) -> None:
    assert error_name == (None if vector["expect"] == "success" else vector["expect"])
    digest = hashlib.sha256(released).hexdigest()
    if error_name is None:
        assert digest == vector["payload_sha256"]
        assert (status, content_type) == (vector["status"], vector["content_type"])
    else:
        assert digest == vector["released_sha256"]


@frames_only
def test_package_opens(vector: dict[str, Any]) -> None:
    opener, calls = package_opener(vector)
    released, error = run(calls, ResponseError)
    name = type(error).__name__ if error else None
    check(vector, released, name, opener.status, opener.content_type)
    assert opener.is_complete or name


@frames_only
def test_reference_opens(vector: dict[str, Any]) -> None:
    opener, calls = reference_opener(vector)
    released, error = run(calls, reference.Refused)
    name = str(error) if error else None
    check(vector, released, name, opener.status, opener.content_type)
    assert opener.is_complete or name


@frames_only
def test_package_opens_nothing_after_a_failure(vector: dict[str, Any]) -> None:
    opener, calls = package_opener(vector)
    run(calls, ResponseError)
    if vector["expect"] == "success":
        with pytest.raises(TrailingDataError):
            opener.open(b"")
    frames = [bytes.fromhex(frame) for frame in vector.get("frames", ())]
    good = [bytes.fromhex(frame) for frame in RESPONSES["streamed_response"]["frames"]]
    for frame in (*frames, *good):
        with pytest.raises(OutputProtectionError):
            opener.open(frame)
    with pytest.raises(OutputProtectionError):
        opener.finish()


# Bodies


def wire(vector: dict[str, Any]) -> tuple[str, bytes]:
    """The outer content type and the body."""
    body = vector["body"]
    data = body["text"].encode() if "text" in body else bytes.fromhex(body["hex"])
    return body["content_type"], data


def package_exchange(vector: dict[str, Any]) -> Exchange:
    policy = package_policy(vector)
    key_pair = package_key_pair(vector)
    with mock.patch.object(ClientKeyPair, "generate", return_value=key_pair):
        return Exchange(
            is_clear=False,
            settings=ClientSettings(
                asks_opaque=vector["container"] == reference.OPAQUE
            ),
            accept=lambda statement: policy.accept(statement, now_ms=vector["now_ms"]),
        )


@pytest.mark.parametrize("size", [1, 7, 10**6])
@bodies
def test_package_opens_body(vector: dict[str, Any], size: int) -> None:
    content_type, data = wire(vector)
    exchange = package_exchange(vector)
    body = exchange.receive(200, content_type)
    released, name = b"", None
    try:
        for start in range(0, len(data), size):
            for payload in body.feed(data[start : start + size]):
                released += payload
        if vector["finish"]:
            for payload in body.finish():
                released += payload
    except ResponseError as error:
        name = type(error).__name__
    report = exchange.report(200, [])
    shown = dict(report.headers).get(b"content-type", b"").decode("ascii")
    if name is not None and size > 1:
        assert name == vector["expect"]  # released at most what size 1 shows
    else:
        check(vector, released, name, report.status, shown)


@bodies
def test_reference_opens_body(vector: dict[str, Any]) -> None:
    content_type, data = wire(vector)
    opener = reference_client(vector)
    released, name = b"", None
    payloads = reference.open_body(
        opener, content_type, data, is_whole=vector["finish"]
    )
    try:
        for payload in payloads:
            released += payload
    except reference.Refused as refused:
        name = refused.name
    check(vector, released, name, opener.status, opener.content_type)
