"""Every vector against the package and against the reference (``tests/vectors``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

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
RESPONSES = {name: v for name, v in VECTORS.items() if "header" not in v}

ABOUT = {"description", "spec", "expect"}
GIVEN = {"client_private_key", "pins", "now_ms", "container", "finish"}
ON_SUCCESS = {"status", "content_type", "payload_sha256"}
ON_FAILURE = {"released_sha256"}
ONE_OF = ({"frames"}, {"frame_texts"}, {"seal"})
SEAL = {
    "response_private_key",
    "response_nonce",
    "statement",
    "status",
    "content_type",
    "repeat",
    "frames_sha256",
}

# What no vector can show: they are about HTTP, or too long for a file.
NOT_IN_VECTORS = {"UnprotectedResponseError", "RedirectRefusedError", "TooLargeError"}


def leaves(error: type[ResponseError]) -> set[str]:
    below = error.__subclasses__()
    return set().union(*map(leaves, below)) if below else {error.__name__}


responses = pytest.mark.parametrize("vector", RESPONSES.values(), ids=RESPONSES)
client_keys = pytest.mark.parametrize("vector", CLIENT_KEYS.values(), ids=CLIENT_KEYS)


# The files themselves


def test_there_are_vectors() -> None:
    assert CLIENT_KEYS
    assert RESPONSES


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


def test_every_vector_names_a_heading() -> None:
    specification = generate.FOLDER.parents[1] / "docs" / "protocol.md"
    lines = specification.read_text("utf-8").splitlines()
    headings = (line.strip("# ") for line in lines if line.startswith("#"))
    anchors = {h.lower().replace(" ", "-").replace("`", "") for h in headings}
    assert {v["spec"].removeprefix("protocol.md#") for v in VECTORS.values()} <= anchors


def test_most_vectors_are_failures() -> None:
    for vectors in (CLIENT_KEYS, RESPONSES):
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


# Responses


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


def package_opener(vector: dict[str, Any]) -> tuple[Opener, list[Step]]:
    pins = vector["pins"]
    policy = StatementPolicy(None if pins is None else frozenset(pins))
    for earlier in vector.get("accepted_before", ()):
        encoded = bytes.fromhex(earlier["statement"])
        statement, end = Statement.parse_prefix(encoded)
        assert end == len(encoded)
        policy.accept(statement, now_ms=earlier["now_ms"])
    private_key = bytes.fromhex(vector["client_private_key"])
    opener = Opener(
        ClientKeyPair(X25519PrivateKey.from_private_bytes(private_key)),
        accept=lambda statement: policy.accept(statement, now_ms=vector["now_ms"]),
        parameters=Parameters(container=vector["container"]),
    )

    def open_text(carried: str) -> bytes:
        frame = find_frame(event_data_around(carried))
        return b"" if frame is None else opener.open(frame)

    return opener, list(steps(vector, opener.open, open_text, opener.finish))


def reference_opener(vector: dict[str, Any]) -> tuple[reference.Opener, list[Step]]:
    client = reference.Client(vector["pins"])
    for earlier in vector.get("accepted_before", ()):
        encoded = bytes.fromhex(earlier["statement"])
        statement, rest = reference.parse_statement(encoded)
        assert rest == b""
        client.accept(statement, earlier["now_ms"])
    private_key = bytes.fromhex(vector["client_private_key"])
    opener = reference.Opener(
        private_key, client, vector["now_ms"], vector["container"]
    )

    def open_text(carried: str) -> bytes:
        if not carried.startswith(reference.PREFIX):
            return b""
        return opener.open(reference.frame_of(carried))

    return opener, list(steps(vector, opener.open, open_text, opener.finish))


def check(
    vector: dict[str, Any],
    opener: Opener | reference.Opener,
    released: bytes,
    error_name: str | None,
) -> None:
    assert error_name == (None if vector["expect"] == "success" else vector["expect"])
    digest = hashlib.sha256(released).hexdigest()
    if error_name is None:
        assert digest == vector["payload_sha256"]
        assert opener.is_complete
        assert opener.status == vector["status"]
        assert opener.content_type == vector["content_type"]
    else:
        assert digest == vector["released_sha256"]


@responses
def test_package_opens(vector: dict[str, Any]) -> None:
    opener, calls = package_opener(vector)
    released, error = run(calls, ResponseError)
    check(vector, opener, released, type(error).__name__ if error else None)


@responses
def test_reference_opens(vector: dict[str, Any]) -> None:
    opener, calls = reference_opener(vector)
    released, error = run(calls, reference.Refused)
    check(vector, opener, released, str(error) if error else None)


@responses
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
