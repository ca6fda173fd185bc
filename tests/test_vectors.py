"""Every vector against the package and against the reference (``tests/vectors``)."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from unittest import mock
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from stainedglass_output_protection.client.exchange import Exchange
from stainedglass_output_protection.client.saved_answer import SavedAnswer
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.errors import (
    ClientKeyError,
    OutputProtectionError,
    RequestError,
    ResponseError,
    StatementError,
    TrailingDataError,
)
from stainedglass_output_protection.protocol import owner as package_owner
from stainedglass_output_protection.protocol.epoch_keys import EpochKeys
from stainedglass_output_protection.protocol.fields_reader import find_frame
from stainedglass_output_protection.protocol.head import Parameters
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.key_schedule import RequestSecrets
from stainedglass_output_protection.protocol.keys import (
    ClientKeyPair,
    parse_client_key,
)
from stainedglass_output_protection.protocol.opener import Opener
from stainedglass_output_protection.protocol.ratchet import Ratchet
from stainedglass_output_protection.protocol.recovery import RecoveryToken
from stainedglass_output_protection.protocol.sealed_request import SealedMessage
from stainedglass_output_protection.protocol.statement import Statement
from stainedglass_output_protection.protocol.trust import StatementPolicy
from stainedglass_output_protection.server import sealed_requests
from stainedglass_output_protection.server.epochs import Epoch, EpochTimes, Span
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from stainedglass_output_protection.server.replay_store import ReplayStore
from stainedglass_output_protection.server.sealed_requests import Opened
from tests import reference
from tests.vectors import generate
from tests.vectors.vocabulary import HOUR

VECTORS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted(generate.FOLDER.glob("*.json"))
}


def with_member(*names: str) -> dict[str, dict[str, Any]]:
    return {name: v for name, v in VECTORS.items() if v.keys() & set(names)}


CLIENT_KEYS = with_member("header")
BODIES = with_member("body")
FRAMES = with_member("frames", "frame_texts", "seal")
RESPONSES = FRAMES | BODIES
DERIVATIONS = with_member("epoch_secret", "ratchet_secrets")
DOCUMENTS = with_member("document")
REQUESTS = with_member("sealed_text", "request")
OWNERS = with_member("owner")
SAVED = with_member("stored")

ABOUT = {"description", "spec", "expect"}
GIVEN = {"client_private_key", "pins", "now_ms", "container", "finish"}
MAY_BE_GIVEN = {"accepted_before", "sealed_to"}
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

OPENED = {
    "response_secret",
    "owner",
    "time_ms",
    "container",
    "method",
    "target",
    "content_type",
    "authorization",
    "body_sha256",
}

# What no vector can show, and what it is about.
NOT_IN_VECTORS = {
    "RedirectRefusedError": "the outer status",
    "EvidenceError": "the caller's own verifier",
    "IdentityChangedError": "what a client has written to its disk",
}
CODES_NOT_IN_VECTORS = {
    "client_key_missing": "a policy of the operator",
    "sealed_request_required": "a policy of the operator",
    "route_not_protected": "the application's routes",
    "stored_response_refused": "the application's routes",
    "keys_unavailable": "the server's own state",
    "error_provoked": "how often the server was asked for one",
}


def errors_below(error: type[ResponseError]) -> set[type[ResponseError]]:
    """Every error that can be raised: each one but those that are there to group."""
    below = error.__subclasses__()
    groups = {ResponseError, StatementError}
    own = set() if error in groups else {error}
    return own.union(*map(errors_below, below))


ERRORS = {error.__name__ for error in errors_below(ResponseError)}


def codes() -> dict[str, int]:
    """The codes of the page's table of errors, with their statuses."""
    specification = generate.FOLDER.parents[1] / "docs" / "protocol.md"
    section = specification.read_text("utf-8").partition("\n### Errors\n")[2]
    rows = re.findall(r"^\| (\d{3}) \| (.*?) \|", section, re.MULTILINE)
    return {
        code: int(status)
        for status, cell in rows
        for code in re.findall(r"`(\w+)`", cell)
    }


responses = pytest.mark.parametrize("vector", RESPONSES.values(), ids=RESPONSES)
frames_only = pytest.mark.parametrize("vector", FRAMES.values(), ids=FRAMES)
bodies = pytest.mark.parametrize("vector", BODIES.values(), ids=BODIES)
client_keys = pytest.mark.parametrize("vector", CLIENT_KEYS.values(), ids=CLIENT_KEYS)
documents = pytest.mark.parametrize("vector", DOCUMENTS.values(), ids=DOCUMENTS)
requests = pytest.mark.parametrize("vector", REQUESTS.values(), ids=REQUESTS)
owners = pytest.mark.parametrize("vector", OWNERS.values(), ids=OWNERS)
saved = pytest.mark.parametrize("vector", SAVED.values(), ids=SAVED)


# The files themselves


def test_every_vector_is_of_one_kind() -> None:
    kinds = (
        *(CLIENT_KEYS, FRAMES, BODIES, DERIVATIONS, DOCUMENTS, REQUESTS, OWNERS),
        SAVED,
    )
    assert all(kinds)
    assert sum(map(len, kinds)) == len(VECTORS)


def test_the_files_are_what_the_cases_say() -> None:
    assert generate.differences() == []


@client_keys
def test_client_key_vector_has_known_members(vector: dict[str, Any]) -> None:
    assert vector.keys() == ABOUT | {"header"}
    assert vector["expect"] in {"success", "ClientKeyError"}


@responses
def test_response_vector_has_known_members(vector: dict[str, Any]) -> None:
    succeeds = vector["expect"] == "success"
    rest = vector.keys() - ABOUT - GIVEN - MAY_BE_GIVEN
    assert vector.keys() > ABOUT | GIVEN
    assert rest - (ON_SUCCESS if succeeds else ON_FAILURE) in ONE_OF
    assert rest > (ON_SUCCESS if succeeds else ON_FAILURE)
    assert succeeds or vector["expect"] in ERRORS
    assert not succeeds or vector["finish"]
    assert all(
        earlier.keys() == {"statement", "now_ms"}
        for earlier in vector.get("accepted_before", ())
    )
    if "sealed_to" in vector:
        assert vector["sealed_to"].keys() == {
            "suite",
            "response_secret",
            "request_hash",
            "digest",
        }
    if "seal" in vector:
        assert vector["seal"].keys() == SEAL
        assert vector["seal"]["repeat"].keys() == {"unit", "count"}
    if "body" in vector:
        assert vector["body"].keys() in BODY


@documents
def test_document_vector_has_known_members(vector: dict[str, Any]) -> None:
    succeeds = vector["expect"] == "success"
    rest = vector.keys() - ABOUT - {"document", "pins", "now_ms", "accepted_before"}
    assert succeeds or vector["expect"] in ERRORS
    assert rest == (
        {
            "key_id",
            "digest",
            "retires_at",
            "evidence_sha256",
            "suite_public_keys_sha256",
        }
        if succeeds
        else set()
    )


@requests
def test_request_vector_has_known_members(vector: dict[str, Any]) -> None:
    succeeds = vector["expect"] == "success"
    given = {"identity_private_key", "epochs", "now_ms"}
    may_be_given = {"client_keys", "limit", "mark_ms", "seen"}
    assert vector.keys() > ABOUT | given
    rest = vector.keys() - ABOUT - given - may_be_given
    assert rest - {"opened"} in ({"sealed_text"}, {"request"})
    assert ("opened" in rest) == succeeds
    assert succeeds or vector["expect"] in codes()
    if succeeds:
        assert vector["opened"].keys() == OPENED
    if "request" in vector:
        named = {"method", "path", "query", "headers", "body"}
        assert vector["request"].keys() == named


@owners
def test_owner_vector_has_known_members(vector: dict[str, Any]) -> None:
    rest = vector.keys() - ABOUT
    assert vector["expect"] in {"success", "response_not_found"}
    assert rest in (
        {"owner", "cache_salt"},
        {"owner", "response_id"},
        {"owner", "response_id", "random"},
    )


@saved
def test_saved_vector_has_known_members(vector: dict[str, Any]) -> None:
    succeeds = vector["expect"] == "success"
    assert vector.keys() == ABOUT | {"token", "stored"} | (
        ON_SUCCESS if succeeds else ON_FAILURE
    )
    assert vector["stored"].keys() in ({"text"}, {"hex"})
    assert succeeds or vector["expect"] in ERRORS | {"ConfigurationError"}


def test_every_vector_names_a_heading() -> None:
    specification = generate.FOLDER.parents[1] / "docs" / "protocol.md"
    lines = specification.read_text("utf-8").splitlines()
    headings = (line.strip("# ") for line in lines if line.startswith("#"))
    anchors = {h.lower().replace(" ", "-").replace("`", "") for h in headings}
    assert {v["spec"].removeprefix("protocol.md#") for v in VECTORS.values()} <= anchors


def test_most_vectors_are_failures() -> None:
    for vectors in (CLIENT_KEYS, FRAMES, BODIES, DOCUMENTS, REQUESTS, OWNERS, SAVED):
        successes = [v for v in vectors.values() if v["expect"] == "success"]
        assert len(vectors) - len(successes) >= 3 * len(successes) > 0


def test_every_error_has_a_vector() -> None:
    vectors = (RESPONSES | DOCUMENTS).values()
    shown = {vector["expect"] for vector in vectors} - {"success"}
    assert shown == ERRORS - NOT_IN_VECTORS.keys()


def test_every_code_has_a_vector() -> None:
    shown = {v["expect"] for v in (REQUESTS | OWNERS).values()} - {"success"}
    assert shown | {"client_key_malformed"} == codes().keys() - (
        CODES_NOT_IN_VECTORS.keys()
    )
    assert CODES_NOT_IN_VECTORS.keys() < codes().keys()


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


def package_parameters(
    vector: dict[str, Any],
) -> tuple[Parameters, RequestSecrets | None]:
    """What the client asks, and what it keeps of a request that it has sealed."""
    container, kept = vector["container"], vector.get("sealed_to")
    if kept is None:
        return Parameters(container=container), None
    request = RequestSecrets(
        bytes.fromhex(kept["response_secret"]),
        bytes.fromhex(kept["request_hash"]),
        bytes.fromhex(kept["digest"]),
    )
    sealed = reference.SEALED_PROFILE
    return Parameters(suite=kept["suite"], profile=sealed, container=container), request


def package_opener(vector: dict[str, Any]) -> tuple[Opener, list[Step]]:
    policy = package_policy(vector)
    parameters, request = package_parameters(vector)
    opener = Opener(
        package_key_pair(vector),
        accept=lambda statement: policy.accept(statement, now_ms=vector["now_ms"]),
        parameters=parameters,
        request=request,
    )

    def open_text(carried: str) -> bytes:
        frame = find_frame(event_data_around(carried))
        return b"" if frame is None else opener.open(frame)

    return opener, list(steps(vector, opener.open, open_text, opener.finish))


def reference_client(vector: dict[str, Any]) -> reference.Client:
    client = reference.Client(vector["pins"])
    for earlier in vector.get("accepted_before", ()):
        encoded = bytes.fromhex(earlier["statement"])
        statement, rest = reference.parse_statement(encoded)
        assert rest == b""
        client.accept(statement, earlier["now_ms"])
    return client


def reference_asking(vector: dict[str, Any]) -> reference.Opener:
    kept, sealed_to = vector.get("sealed_to"), None
    if kept is not None:
        sealed_to = reference.SealedTo(
            kept["suite"],
            bytes.fromhex(kept["response_secret"]),
            bytes.fromhex(kept["request_hash"]),
            bytes.fromhex(kept["digest"]),
        )
    return reference.Opener(
        bytes.fromhex(vector["client_private_key"]),
        reference_client(vector),
        vector["now_ms"],
        vector["container"],
        sealed_to,
    )


def reference_opener(vector: dict[str, Any]) -> tuple[reference.Opener, list[Step]]:
    opener = reference_asking(vector)

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
    opener = reference_asking(vector)
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


# Epoch keys and fleet


def test_package_derives_epoch_keys() -> None:
    vector = VECTORS["epoch_keys_from_a_secret"]
    keys = EpochKeys(bytes.fromhex(vector["epoch_secret"]))
    assert keys.response_public_key.hex() == vector["response_public_key"]
    public_keys = {str(u): key.hex() for u, key in keys.suite_public_keys.items()}
    assert public_keys == vector["suite_public_keys"]


def test_reference_derives_epoch_keys() -> None:
    vector = VECTORS["epoch_keys_from_a_secret"]
    epoch_secret = bytes.fromhex(vector["epoch_secret"])
    for use, seed in vector["seeds"].items():
        assert reference.seed(epoch_secret, int(use)).hex() == seed
    keys = reference.EpochKeys(epoch_secret)
    assert keys.response_public_key.hex() == vector["response_public_key"]
    public_keys = {str(u): key.hex() for u, key in keys.suite_public_keys.items()}
    assert public_keys == vector["suite_public_keys"]
    assert [len(key) // 2 for key in public_keys.values()] == [32, 1216]


def test_package_turns_the_ratchet() -> None:
    vector = VECTORS["ratchet_of_a_fleet"]
    first = bytes.fromhex(vector["ratchet_secrets"][0])
    ratchet = Ratchet(7, first)
    assert [ratchet.take().hex() for _ in range(4)] == vector["epoch_secrets"]
    assert ratchet.index == 11
    skipping = Ratchet(7, first)
    skipping.skip_to(9)
    assert skipping.reveal().hex() == vector["ratchet_secrets"][2]
    assert skipping.take().hex() == vector["epoch_secrets"][2]


def test_reference_turns_the_ratchet() -> None:
    vector = VECTORS["ratchet_of_a_fleet"]
    step = bytes.fromhex(vector["ratchet_secrets"][0])
    for expected, epoch_secret in zip(
        vector["ratchet_secrets"], vector["epoch_secrets"], strict=True
    ):
        assert step.hex() == expected
        assert reference.fleet_epoch_secret(step).hex() == epoch_secret
        step = reference.next_ratchet_secret(step)


# Key documents


def whole(text: str | list[str | dict[str, Any]]) -> str:
    if isinstance(text, str):
        return text
    return "".join(
        part if isinstance(part, str) else part["repeat"] * part["count"]
        for part in text
    )


def check_document(
    vector: dict[str, Any],
    document: KeyDocument | reference.KeyDocument,
) -> None:
    keys = document.suite_public_keys.items()
    assert document.statement.key_id.hex() == vector["key_id"]
    assert document.statement.digest.hex() == vector["digest"]
    assert document.retires_at == vector["retires_at"]
    digest = hashlib.sha256(document.evidence).hexdigest()
    assert digest == vector["evidence_sha256"]
    assert {str(u): hashlib.sha256(key).hexdigest() for u, key in keys} == vector[
        "suite_public_keys_sha256"
    ]


@documents
def test_package_reads_document(vector: dict[str, Any]) -> None:
    policy, text = package_policy(vector), whole(vector["document"])
    name = "success"
    try:
        document = KeyDocument.from_text(text)
        policy.accept(document.statement, now_ms=vector["now_ms"])
    except ResponseError as error:
        name = type(error).__name__
    assert name == vector["expect"]
    if name == "success":
        check_document(vector, document)
        assert document.to_text() == text


@documents
def test_reference_reads_document(vector: dict[str, Any]) -> None:
    client, text = reference_client(vector), whole(vector["document"])
    name = "success"
    try:
        document = reference.parse_document(text)
        client.accept(document.statement, vector["now_ms"])
    except reference.Refused as refused:
        name = refused.name
    assert name == vector["expect"]
    if name == "success":
        check_document(vector, document)
        assert reference.document_text(document.encoded) == text


# Sealed requests


class GivenEpochs(OwnEpochs):
    """The epochs of a vector, the retired among them: it is for the ring to tell."""

    def __init__(self, epochs: Sequence[dict[str, Any]]) -> None:
        super().__init__(EpochTimes(period_ms=HOUR, overlap=1))
        self._given = []
        for epoch in epochs:
            start, retires_at = epoch["epoch"], epoch["retires_at"]
            assert epoch["not_after"] - start == self.times.life_ms
            span = Span(start, start, retires_at, retires_at)
            self._given.append(Epoch(span, bytes.fromhex(epoch["epoch_secret"])))

    def live(self, now_ms: int) -> Sequence[Epoch]:
        return self._given

    def is_over(self, span: Span, now_ms: int) -> bool:
        return now_ms >= span.retires_at

    def is_due(self, now_ms: int) -> bool:
        return False


def package_ring(vector: dict[str, Any]) -> KeyRing:
    private_key = bytes.fromhex(vector["identity_private_key"])
    identity = IdentityKey(Ed25519PrivateKey.from_private_bytes(private_key))
    ring = KeyRing(identity, GivenEpochs(vector["epochs"]))
    ring.tick(vector["now_ms"])
    return ring


def asgi_scope(request: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": request["method"],
        "path": unquote(request["path"]),
        "raw_path": request["path"].encode(),
        "query_string": request["query"].encode(),
        "root_path": "",
        "headers": [
            (name.encode(), value.encode()) for name, value in request["headers"]
        ],
    }


def package_receives(vector: dict[str, Any]) -> Opened:
    """All steps that the page names, in the package's server."""
    now, request = vector["now_ms"], vector.get("request")
    store = ReplayStore(None, mark_ms=vector.get("mark_ms", 0))
    for secret in vector.get("seen", ()):
        store.enter(
            bytes.fromhex(secret), time_ms=now, retires_at=now + HOUR, now_ms=now
        )
    with mock.patch.object(sealed_requests, "unix_ms", return_value=now):
        if request is None:
            text = vector["sealed_text"]
        else:
            scope, body = asgi_scope(request), request["body"].encode()
            limit = vector.get("limit", reference.MAX_REQUEST_TEXT)
            text = sealed_requests.sealed_text(scope, body, limit=limit)
            assert text is not None
        opened = sealed_requests.open_request(
            text, ring=package_ring(vector), offered=vector.get("client_keys", ())
        )
        if request is not None:
            sealed_requests.compare_target(opened, scope)
        sealed_requests.enter(opened, store)
        if request is not None:
            sealed_requests.compare_members(opened, scope, body)
    return opened


@requests
def test_package_opens_request(vector: dict[str, Any]) -> None:
    if vector["expect"] != "success":
        with pytest.raises(RequestError) as caught:
            package_receives(vector)
        error = caught.value
        assert (error.code, error.status) == (vector["expect"], codes()[error.code])
        return
    opened = package_receives(vector)
    request = opened.request
    assert vector["opened"] == {
        "response_secret": request.response_secret.hex(),
        "owner": request.owner.hex(),
        "time_ms": request.time_ms,
        "container": request.container,
        "method": request.method,
        "target": request.target,
        "content_type": request.content_type,
        "authorization": request.authorization,
        "body_sha256": hashlib.sha256(request.body).hexdigest(),
    }
    if "sealed_text" in vector:
        message = SealedMessage.from_text(vector["sealed_text"])
        encoded = reference.canonical_base64(
            vector["sealed_text"].removeprefix(reference.REQUEST_PREFIX), ""
        )
        assert (message.encode(), message.to_text()) == (encoded, vector["sealed_text"])
        digest = opened.keys.request.digest
        kept = (request.response_secret, reference.sha256(encoded), digest)
        assert opened.keys.request == kept
        assert digest[:8] == message.key_id
        assert opened.keys.suite == encoded[1]


def test_package_brings_its_document_if_a_key_is_unknown() -> None:
    vector = VECTORS["sealed_message_that_asks_for_a_document"]
    with pytest.raises(RequestError, match="sgop1-keys") as caught:
        package_receives(vector)
    document = KeyDocument.from_text(str(caught.value).split()[-1])
    newest = max(vector["epochs"], key=lambda epoch: epoch["epoch"])
    keys = reference.EpochKeys(bytes.fromhex(newest["epoch_secret"]))
    assert document.suite_public_keys == keys.suite_public_keys
    assert document.statement.epoch == newest["epoch"]


def reference_server(vector: dict[str, Any]) -> reference.Server:
    identity = bytes.fromhex(vector["identity_private_key"])
    epochs = []
    for epoch in vector["epochs"]:
        keys = reference.EpochKeys(bytes.fromhex(epoch["epoch_secret"]))
        statement = reference.Statement(
            version=reference.VERSION,
            epoch=epoch["epoch"],
            not_after=epoch["not_after"],
            response_public_key=keys.response_public_key,
            suites=tuple(
                (u, reference.sha256(key)) for u, key in keys.suite_public_keys.items()
            ),
            identity=reference.identity_public_half(identity),
        )
        epochs.append(reference.Epoch(keys, statement, epoch["retires_at"]))
    seen = {reference.sha256(bytes.fromhex(one)) for one in vector.get("seen", ())}
    limit = vector.get("limit", reference.MAX_REQUEST_TEXT)
    return reference.Server(epochs, limit, vector.get("mark_ms", 0), seen)


def reference_receives(vector: dict[str, Any]) -> reference.SealedRequest:
    server, request = reference_server(vector), vector.get("request")
    clear_keys, now = vector.get("client_keys", ()), vector["now_ms"]
    if request is None:
        return server.open(vector["sealed_text"], clear_keys, now)
    headers = [(name, value) for name, value in request["headers"]]
    body = request["body"].encode()
    return server.receive(
        reference.HttpRequest(
            request["method"], request["path"], request["query"], headers, body
        ),
        clear_keys,
        now,
    )


@requests
def test_reference_opens_request(vector: dict[str, Any]) -> None:
    if vector["expect"] != "success":
        with pytest.raises(reference.Refused, match=f"^{vector['expect']}$"):
            reference_receives(vector)
        return
    request = reference_receives(vector)
    assert vector["opened"] == {
        "response_secret": request.response_secret.hex(),
        "owner": request.owner.hex(),
        "time_ms": request.time,
        "container": request.container,
        "method": request.method,
        "target": request.target,
        "content_type": request.content_type,
        "authorization": request.authorization,
        "body_sha256": hashlib.sha256(request.body).hexdigest(),
    }


@requests
def test_a_request_is_opened_once(vector: dict[str, Any]) -> None:
    """What was accepted is known from then on; what was refused is not."""
    if vector["expect"] == "success":
        server = reference_server(vector)
        with mock.patch(f"{__name__}.reference_server", return_value=server):
            request = reference_receives(vector)
            with pytest.raises(reference.Refused, match=r"^request_replayed$"):
                reference_receives(vector)
        again = {**vector, "seen": [request.response_secret.hex()]}
        with pytest.raises(RequestError) as caught:
            package_receives(again)
        assert caught.value.code == "request_replayed"


# Owner


@owners
def test_package_knows_owner(vector: dict[str, Any]) -> None:
    owner = bytes.fromhex(vector["owner"])
    if "cache_salt" in vector:
        assert package_owner.cache_salt(owner) == vector["cache_salt"]
        return
    is_own = package_owner.owns_response(owner, vector["response_id"])
    assert is_own == (vector["expect"] == "success")
    if "random" in vector:
        random = bytes.fromhex(vector["random"])
        with mock.patch.object(secrets, "token_bytes", return_value=random):
            made = package_owner.new_response_id(owner)
        assert made == vector["response_id"]


@owners
def test_reference_knows_owner(vector: dict[str, Any]) -> None:
    owner = bytes.fromhex(vector["owner"])
    if "cache_salt" in vector:
        assert reference.cache_salt(owner) == vector["cache_salt"]
    elif vector["expect"] == "success":
        reference.require_owner(owner, vector["response_id"])
        random = bytes.fromhex(vector["random"])
        assert reference.response_id(owner, random) == vector["response_id"]
    else:
        with pytest.raises(reference.Refused, match=f"^{vector['expect']}$"):
            reference.require_owner(owner, vector["response_id"])


# Saved answers


def stored_bytes(vector: dict[str, Any]) -> bytes:
    stored = vector["stored"]
    if "text" in stored:
        return str(stored["text"]).encode()
    return bytes.fromhex(stored["hex"])


@saved
def test_package_opens_saved(vector: dict[str, Any]) -> None:
    released, name = b"", None
    status, content_type = None, None
    try:
        answer = SavedAnswer(RecoveryToken.parse(vector["token"]))
        for payload in answer.open(stored_bytes(vector)):
            released += payload
        status, content_type = answer.status, answer.content_type
    except OutputProtectionError as error:
        name = type(error).__name__
    check(vector, released, name, status, content_type)


@saved
def test_reference_opens_saved(vector: dict[str, Any]) -> None:
    released, name = b"", None
    status, content_type = None, None
    try:
        opener = reference.SavedOpener(vector["token"])
        for payload in reference.open_saved(opener, stored_bytes(vector)):
            released += payload
        status, content_type = opener.status, opener.content_type
    except reference.Refused as refused:
        name = refused.name
    check(vector, released, name, status, content_type)
