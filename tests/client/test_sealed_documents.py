"""Where a client has its key document from, and which one it takes."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.protocol.constants import PROFILE_SEALED
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.server.clock import unix_ms
from tests.client.drivers import Driver, protection_for
from tests.client.fake_server import JSON, FakeServer, Wire, chat_body, error_body
from tests.client.sealed_cases import ASKED, is_seen
from tests.client.sealed_server import (
    SealedServer,
    document_of,
    document_wire,
    key_unknown_wire,
    ring_since,
)

MINUTE = 60_000
PROMPT = {"messages": [{"role": "user", "content": ASKED}]}


def messages_of(server: FakeServer) -> list[bytes]:
    """Return the sealed message of each attempt."""
    texts = [request.sealed_text for request in server.attempts]
    return [base64.b64decode(text.removeprefix("sgop1-request.")) for text in texts]


def documents_asked(server: FakeServer) -> int:
    return len(server.received) - len(server.attempts)


def is_empty(message: bytes) -> bool:
    """Tell whether a sealed message holds nothing, and asks for a key."""
    return message[2:10] == bytes(8) and len(message) == 42


def test_one_document_does_for_many_requests(
    driver: Driver, sealed: SealedServer
) -> None:
    protection = protection_for(sealed)
    for number in range(5):
        answer = driver.ask(sealed, stream=bool(number % 2), protection=protection)
        assert (answer.error, answer.status) == (None, 200)
    assert documents_asked(sealed) == 1
    assert sealed.received[0].is_for_document
    assert sealed.received[0].method == "GET"
    assert sealed.received[0].body == b""
    assert not any(map(is_empty, messages_of(sealed)))
    assert driver.documents_closed == [True]


NO_DOCUMENT: dict[str, Wire] = {
    "404": Wire(404, {"content-type": JSON}, [error_body("no", 404)]),
    "401": Wire(401, {"content-type": JSON}, [error_body("who?", 401)]),
    "403": Wire(403, {"content-type": "text/html"}, [b"<html>"]),
    "422": Wire(422, {"content-type": JSON}, [error_body("no", 422)]),
    "500": Wire(500, {}, []),
    "redirect": Wire(302, {"location": "http://elsewhere.test/"}, []),
    "page": Wire(200, {"content-type": "text/html"}, [b"<html>", b"Log in</html>"]),
    "no content": Wire(204, {}, []),
    "nothing": Wire(200, {"content-type": JSON}, []),
    "no JSON": Wire(200, {"content-type": JSON}, [b'{"document":']),
    "no UTF-8": Wire(200, {"content-type": JSON}, [b'{"document":"\xff"}']),
    "a list": Wire(200, {"content-type": JSON}, [b"[]"]),
    "no member": Wire(200, {"content-type": JSON}, [b'{"documents":""}']),
    "null": Wire(200, {"content-type": JSON}, [b'{"document":null}']),
    "other text": Wire(200, {"content-type": JSON}, [b'{"document":"sgop1.AAAA"}']),
}


@pytest.mark.parametrize("found", NO_DOCUMENT)
def test_without_a_document_an_empty_message_asks_for_one(
    found: str, driver: Driver, sealed: SealedServer
) -> None:
    sealed.tamper_document = lambda wire: NO_DOCUMENT[found]
    protection = protection_for(sealed)
    answer = driver.ask(sealed, asked=PROMPT, protection=protection)
    assert (answer.error, answer.status, answer.body) == (None, 200, chat_body())
    first, second = messages_of(sealed)
    assert is_empty(first)
    assert not is_empty(second)
    assert first[10:42] != second[10:42]
    assert len(sealed.app.calls) == 1
    assert not is_seen(sealed, ASKED)
    # From then on it has one.
    assert driver.ask(sealed, protection=protection).body == chat_body()
    assert len(messages_of(sealed)) == 3
    assert documents_asked(sealed) == 1
    assert driver.closed == [True] * 3
    assert driver.documents_closed == [True]


def test_without_any_document_nothing_is_said(
    driver: Driver, sealed: SealedServer
) -> None:
    sealed.tamper_document = lambda wire: NO_DOCUMENT["404"]
    sealed.tamper = lambda wire: NO_DOCUMENT["404"]
    protection = protection_for(sealed)
    for _ in range(2):
        answer = driver.ask(sealed, asked=PROMPT, protection=protection)
        assert (answer.error, answer.status) == (None, 404)
        assert answer.headers["x-output-protection"] == "unauthenticated"
    assert all(map(is_empty, messages_of(sealed)))
    assert sealed.app.calls == []
    assert not is_seen(sealed, ASKED)


def test_a_body_without_end_is_no_document(
    driver: Driver, sealed: SealedServer
) -> None:
    page = Wire(200, {"content-type": "text/html"}, [b" " * 2**18] * 5)
    sealed.tamper_document = lambda wire: page
    answer = driver.ask(sealed, asked=PROMPT)
    assert type(answer.error) is errors.TooLargeError
    assert sealed.attempts == []
    assert driver.documents_closed == [True]


def resigned(document: KeyDocument, **change: Any) -> KeyDocument:
    """Return a document with another statement, whose signature does not fit."""
    return dataclasses.replace(
        document, statement=dataclasses.replace(document.statement, **change)
    )


def flipped(text: str, at: int) -> str:
    """Flip a bit in a document's text, and encode it canonically again."""
    data = bytearray(base64.b64decode(text.partition(".")[2]))
    data[at] ^= 1
    return "sgop1-keys." + base64.b64encode(data).decode()


def stranger() -> KeyDocument:
    return document_of(ring_since())


Bad = Callable[[KeyDocument], "KeyDocument | str"]
UNACCEPTABLE: dict[str, tuple[Bad, type[Exception]]] = {
    "signature": (
        lambda it: resigned(it, signature=bytes(64)),
        errors.StatementSignatureError,
    ),
    "key": (
        lambda it: resigned(it, response_public_key=bytes(range(32))),
        errors.StatementSignatureError,
    ),
    "identity": (
        lambda it: resigned(it, identity=stranger().statement.identity),
        errors.StatementSignatureError,
    ),
    "life": (
        lambda it: resigned(it, not_after=it.statement.not_after + 1),
        errors.StatementSignatureError,
    ),
    "another server's": (lambda it: stranger(), errors.IdentityMismatchError),
    "suite key": (
        lambda it: dataclasses.replace(
            it, suite_public_keys=stranger().suite_public_keys
        ),
        errors.KeyDocumentError,
    ),
    "evidence that is not named": (
        lambda it: dataclasses.replace(it, evidence=b"x"),
        errors.KeyDocumentError,
    ),
    "bit of the last key": (
        lambda it: flipped(it.to_text(), -1),
        errors.KeyDocumentError,
    ),
    "cut": (lambda it: it.to_text()[:-4], errors.KeyDocumentError),
    "longer": (lambda it: it.to_text() + "AAAA", errors.KeyDocumentError),
    "not canonical": (lambda it: it.to_text() + "\n", errors.KeyDocumentError),
    "empty": (lambda it: "sgop1-keys.", errors.KeyDocumentError),
    "large": (
        lambda it: "sgop1-keys." + "A" * (128 * 1024),
        errors.KeyDocumentError,
    ),
}


def too_old(age_ms: int) -> Callable[[SealedServer], KeyDocument]:
    """Return a document of the pinned server that began so long ago, 10 minutes long."""

    def make(server: SealedServer) -> KeyDocument:
        start = unix_ms() - age_ms
        ring = ring_since(start, identity=server.ring.identity, period_ms=1000)
        return KeyDocument.from_text(ring.current(start).document_text)

    return make


expired = too_old(16 * MINUTE)
retired = too_old(12 * MINUTE)
early = too_old(-10 * MINUTE)


@pytest.mark.parametrize("bad", UNACCEPTABLE)
def test_an_unacceptable_document_is_an_error_and_no_reason_to_ask_otherwise(
    bad: str, driver: Driver, sealed: SealedServer
) -> None:
    change, expected = UNACCEPTABLE[bad]
    wire = document_wire(change(document_of(sealed.ring)))
    sealed.tamper_document = lambda _: wire
    answer = driver.ask(sealed, asked=PROMPT)
    assert type(answer.error) is expected
    assert sealed.attempts == []
    assert sealed.app.calls == []
    assert driver.documents_closed == [True]


@pytest.mark.parametrize("make", [expired, early])
def test_a_document_of_another_time_is_an_error(
    make: Callable[[SealedServer], KeyDocument], driver: Driver, sealed: SealedServer
) -> None:
    wire = document_wire(make(sealed))
    sealed.tamper_document = lambda _: wire
    answer = driver.ask(sealed, asked=PROMPT)
    assert type(answer.error) is errors.StatementExpiredError
    assert sealed.attempts == []


def forgetting(server: SealedServer, protection: Protection) -> None:
    """Let the client fetch a document for each request: a hint that nobody signed."""
    document = dataclasses.replace(document_of(server.ring), retires_at=0)
    server.tamper_document = lambda wire: document_wire(document)
    driver = Driver("httpx", is_async=False)
    assert driver.ask(server, protection=protection).status == 200


def test_a_document_from_before_the_newest_is_an_error(
    driver: Driver, sealed: SealedServer
) -> None:
    wire = document_wire(retired(sealed))
    sealed.tamper_document = lambda _: wire
    # Such a one is taken by who knows no newer; the server then brings its own.
    assert driver.ask(sealed).body == chat_body()
    protection = protection_for(sealed)
    forgetting(sealed, protection)
    before = len(sealed.attempts)
    sealed.tamper_document = lambda _: wire
    answer = driver.ask(sealed, asked=PROMPT, protection=protection)
    assert type(answer.error) is errors.StatementRolledBackError
    assert len(sealed.attempts) == before


def test_an_older_document_that_is_still_good_takes_no_other_s_place(
    driver: Driver, sealed: SealedServer
) -> None:
    """It seals to the newest that it has accepted."""
    identity = sealed.ring.identity
    older = document_of(ring_since(unix_ms() - 3 * MINUTE, identity=identity))
    protection = protection_for(sealed)
    forgetting(sealed, protection)
    sealed.tamper_document = lambda _: document_wire(older)
    answer = driver.ask(sealed, protection=protection)
    assert answer.body == chat_body()
    newest = document_of(sealed.ring).statement.key_id
    assert [message[2:10] for message in messages_of(sealed)] == [newest] * 2


@pytest.mark.parametrize("hint", [0, 1, 2**64 - 1])
def test_who_changes_the_hint_costs_a_round_trip_at_most(
    hint: int, driver: Driver, sealed: SealedServer
) -> None:
    document = dataclasses.replace(document_of(sealed.ring), retires_at=hint)
    sealed.tamper_document = lambda wire: document_wire(document)
    protection = protection_for(sealed)
    for _ in range(3):
        assert driver.ask(sealed, protection=protection).body == chat_body()
    assert documents_asked(sealed) == (1 if hint > 1 else 3)
    assert len(sealed.attempts) == 3


def test_a_document_whose_keys_will_soon_go_is_fetched_anew(
    driver: Driver, sealed: SealedServer
) -> None:
    now = 0.0
    start = document_of(sealed.ring).statement.epoch
    settings = ClientSettings(
        pins=frozenset({sealed.fingerprint}), profile=PROFILE_SEALED
    )
    protection = Protection(settings, clock=lambda: now)
    # The keys live for two hours. Near their end the server is at another epoch.
    for minutes, expected in ((1, 1), (60, 1), (89, 1), (91, 2), (118, 3)):
        now = start / 1000 + minutes * 60
        driver.ask(sealed, protection=protection)
        assert documents_asked(sealed) == expected, minutes


def test_a_server_with_another_epoch_is_asked_once_more(
    driver: Driver, sealed: SealedServer
) -> None:
    protection = protection_for(sealed)
    assert driver.ask(sealed, protection=protection).status == 200
    sealed.rotate()
    answer = driver.ask(sealed, asked=PROMPT, protection=protection)
    assert (answer.error, answer.body) == (None, chat_body())
    assert answer.extensions["output_protection"].key_id == sealed.key_id
    _, refused, accepted = messages_of(sealed)
    assert refused[2:10] != accepted[2:10] == document_of(sealed.ring).statement.key_id
    # Fresh keys: of the client's, and of the sealing.
    assert refused[10:42] != accepted[10:42]
    assert refused[42:] != accepted[42:]
    assert len(sealed.app.calls) == 2
    assert [wire.status for wire in sealed.sent] == [200, 200, 422, 200]
    # The next request knows it, and nothing else was fetched.
    assert driver.ask(sealed, protection=protection).status == 200
    assert (len(sealed.attempts), documents_asked(sealed)) == (4, 1)
    assert not is_seen(sealed, ASKED)
    assert driver.closed == [True] * 4


@pytest.mark.parametrize("stream", [False, True])
def test_two_refusals_in_a_row_are_reported(
    stream: bool, driver: Driver, sealed: SealedServer
) -> None:
    protection = protection_for(sealed)
    assert driver.ask(sealed, protection=protection).status == 200

    def rotate(request: Any) -> Any:
        sealed.rotate()
        return request

    sealed.tamper_request = rotate
    answer = driver.ask(sealed, asked=PROMPT, stream=stream, protection=protection)
    assert (answer.error, answer.status) == (None, 422)
    assert answer.headers["x-output-protection"] == "unauthenticated"
    assert json.loads(answer.body)["error"]["code"] == "key_unknown"
    assert len(sealed.attempts) == 3
    assert len(sealed.app.calls) == 1
    assert driver.closed == [True] * 3


def test_a_refusal_of_an_empty_message_is_the_one_that_is_acted_on(
    driver: Driver, sealed: SealedServer
) -> None:
    sealed.tamper_document = lambda wire: NO_DOCUMENT["404"]

    def rotate_at_the_second(request: Any) -> Any:
        if len(sealed.attempts) == 2:
            sealed.rotate()
        return request

    sealed.tamper_request = rotate_at_the_second
    answer = driver.ask(sealed, asked=PROMPT)
    assert (answer.error, answer.status) == (None, 422)
    assert answer.headers["x-output-protection"] == "unauthenticated"
    assert list(map(is_empty, messages_of(sealed))) == [True, False]
    assert sealed.app.calls == []


def newer(server: SealedServer) -> KeyDocument:
    """Return a newer document of the same server, which it does not use."""
    return document_of(ring_since(unix_ms(), identity=server.ring.identity))


def same(server: SealedServer) -> KeyDocument:
    return document_of(server.ring)


def older(server: SealedServer) -> KeyDocument:
    ring = ring_since(unix_ms() - 2 * MINUTE, identity=server.ring.identity)
    return document_of(ring)


def in_an_error(message: str, code: Any = "key_unknown") -> Wire:
    body = json.dumps({"error": {"message": message, "code": code}}).encode()
    return Wire(422, {"content-type": JSON}, [body])


NOT_ACTED_ON: dict[str, Callable[[SealedServer], Wire]] = {
    "code of a router's own": lambda server: key_unknown_wire(
        newer(server), "invalid_value"
    ),
    "number as code": lambda server: key_unknown_wire(newer(server), 422),  # type: ignore[arg-type]
    "the same document": lambda server: key_unknown_wire(same(server)),
    "an older document": lambda server: key_unknown_wire(older(server)),
    "a retired document": lambda server: key_unknown_wire(retired(server)),
    "an older one of another server": lambda server: key_unknown_wire(
        document_of(ring_since(unix_ms() - 2 * MINUTE))
    ),
    "no document": lambda server: in_an_error("Ask again."),
    "no message": lambda server: in_an_error(""),
    "words after it": lambda server: key_unknown_wire(newer(server).to_text() + " !"),
    "another status": lambda server: dataclasses.replace(
        key_unknown_wire(newer(server)), status=400
    ),
    "too early": lambda server: dataclasses.replace(
        key_unknown_wire(newer(server)), status=425
    ),
    "unavailable": lambda server: dataclasses.replace(
        key_unknown_wire(newer(server)), status=503
    ),
    "no JSON": lambda server: Wire(422, {"content-type": JSON}, [b"{"]),
    "page": lambda server: Wire(422, {"content-type": "text/html"}, [b"<html>"]),
    "nothing": lambda server: Wire(422, {}, []),
    "a list": lambda server: Wire(422, {"content-type": JSON}, [b'[{"error":1}]']),
    "document as a member": lambda server: Wire(
        422, {"content-type": JSON}, document_wire(newer(server)).parts
    ),
}


@pytest.mark.parametrize("act", NOT_ACTED_ON)
def test_no_other_refusal_makes_it_send_again(
    act: str, driver: Driver, sealed: SealedServer
) -> None:
    wire = NOT_ACTED_ON[act](sealed)
    sealed.tamper = lambda _: wire
    protection = protection_for(sealed)
    answer = driver.ask(sealed, asked=PROMPT, protection=protection)
    assert (answer.error, answer.status) == (None, wire.status)
    assert answer.body == wire.body
    assert answer.headers["x-output-protection"] == "unauthenticated"
    assert len(sealed.attempts) == 1
    assert not is_seen(sealed, ASKED)
    assert driver.closed == [True]
    # What it has stays what it has.
    sealed.tamper = lambda wire: wire
    assert driver.ask(sealed, protection=protection).body == chat_body()
    assert documents_asked(sealed) == 1


@pytest.mark.parametrize("bad", UNACCEPTABLE)
def test_a_refusal_with_an_unacceptable_document_is_an_error(
    bad: str, driver: Driver, sealed: SealedServer
) -> None:
    change, expected = UNACCEPTABLE[bad]
    stranger_now = document_of(ring_since(unix_ms()))
    changed = change(newer(sealed))
    if bad == "another server's":
        changed = stranger_now
    text = changed if isinstance(changed, str) else changed.to_text()
    wire = key_unknown_wire(text)
    sealed.tamper = lambda _: wire
    answer = driver.ask(sealed, asked=PROMPT)
    assert type(answer.error) is expected
    assert len(sealed.attempts) == 1
    assert sealed.app.calls
    assert not is_seen(sealed, ASKED)
    assert driver.closed == [True]


def test_a_refusal_with_a_document_of_a_later_time_is_an_error(
    driver: Driver, sealed: SealedServer
) -> None:
    wire = key_unknown_wire(early(sealed))
    sealed.tamper = lambda _: wire
    answer = driver.ask(sealed, asked=PROMPT)
    assert type(answer.error) is errors.StatementExpiredError
    assert len(sealed.attempts) == 1


def test_a_refusal_in_the_shape_of_the_messages_route_is_understood(
    driver: Driver, sealed: SealedServer
) -> None:
    sealed.tamper_document = lambda wire: NO_DOCUMENT["404"]
    answer = driver.ask(sealed, path="/v1/messages", asked=PROMPT)
    assert answer.status == 200
    refusal = json.loads(sealed.sent[1].body)
    assert refusal["type"] == "error"
    assert refusal["error"]["code"] == "key_unknown"
    assert len(sealed.attempts) == 2


def compressed(wire: Wire) -> Wire:
    packed = gzip.compress(wire.body)
    headers = {
        **wire.headers,
        "content-encoding": "gzip",
        "content-length": str(len(packed)),
    }
    return Wire(wire.status, headers, [packed[:20], packed[20:]])


def test_what_a_gateway_compresses_is_read_all_the_same(
    driver: Driver, sealed: SealedServer
) -> None:
    sealed.tamper_document = compressed
    sealed.tamper = compressed
    protection = protection_for(sealed)
    assert driver.ask(sealed, protection=protection).body == chat_body()
    sealed.rotate()
    assert driver.ask(sealed, protection=protection).body == chat_body()
    assert len(sealed.attempts) == 3
    sealed.tamper = lambda wire: compressed(in_an_error("It is not known."))
    answer = driver.ask(sealed, protection=protection)
    assert (answer.error, answer.status) == (None, 422)
    assert b"It is not known." in answer.body
    assert "content-encoding" not in answer.headers


def test_a_large_error_of_the_application_is_not_taken_for_a_refusal(
    driver: Driver, sealed: SealedServer
) -> None:
    """Frameworks repeat what they do not understand."""
    body = error_body("word " * 600_000, 422)
    sealed.app.answer = lambda call: Wire(422, {"content-type": JSON}, [body])
    answer = driver.ask(sealed)
    assert answer.error is None
    assert (answer.status, answer.body) == (422, body)
    assert answer.headers["x-output-protection"] == "opened"


# Evidence, and trust on first use.


EVIDENCE = b"a quote of this machine"


class Verifier:
    """Notes what it is given, and refuses if it is told to."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.given: list[tuple[bytes, bytes]] = []
        self._refusal = refusal

    def __call__(self, evidence: bytes, report_data: bytes) -> None:
        self.given.append((evidence, report_data))
        if self._refusal is not None:
            raise self._refusal


def attested() -> SealedServer:
    return SealedServer(ring=ring_since(evidence=lambda digest: EVIDENCE))


def test_evidence_is_verified_once_for_a_document(driver: Driver) -> None:
    server, verifier = attested(), Verifier()
    protection = protection_for(server, verify_evidence=verifier)
    for _ in range(3):
        assert driver.ask(server, protection=protection).status == 200
    statement = document_of(server.ring).statement
    assert verifier.given == [(EVIDENCE, statement.digest)]
    assert statement.evidence_hash == hashlib.sha256(EVIDENCE).digest()


@pytest.mark.parametrize("is_found", [True, False])
def test_refused_evidence_is_an_error_and_nothing_is_said(
    is_found: bool, driver: Driver
) -> None:
    server, verifier = attested(), Verifier(ValueError("words of the peer"))
    if not is_found:
        server.tamper_document = lambda wire: NO_DOCUMENT["404"]
    protection = protection_for(server, verify_evidence=verifier)
    answer = driver.ask(server, asked=PROMPT, protection=protection)
    assert type(answer.error) is errors.EvidenceError
    assert "words of the peer" not in str(answer.error)
    assert all(map(is_empty, messages_of(server)))
    assert len(server.attempts) == (0 if is_found else 1)
    assert server.app.calls == []
    assert not is_seen(server, ASKED)


def test_a_server_without_evidence_is_refused_by_who_demands_it(
    driver: Driver, sealed: SealedServer
) -> None:
    verifier = Verifier()
    protection = protection_for(sealed, verify_evidence=verifier)
    answer = driver.ask(sealed, asked=PROMPT, protection=protection)
    assert type(answer.error) is errors.EvidenceError
    assert (sealed.attempts, verifier.given) == ([], [])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize", "/v2/rerank"])
def test_each_server_below_an_origin_has_a_document_of_its_own(
    path: str, driver: Driver, tmp_path: Path
) -> None:
    one = SealedServer(prefix="/one")
    two = SealedServer(prefix="/two", ring=one.ring)
    known = tmp_path / "known"
    protection = first_use(one, known)
    for _ in range(2):
        for server in (one, two):
            answer = driver.ask(
                server, path=f"{server.prefix}{path}", protection=protection
            )
            assert (answer.error, answer.status) == (None, 200)
    for server in (one, two):
        (document,) = [it for it in server.received if it.is_for_document]
        assert document.path == f"{server.prefix}/.well-known/output-protection"
        assert f"http://server.test{server.prefix} " in known.read_text()


def test_what_needs_sealed_requests_is_refused_without_them() -> None:
    choices: list[dict[str, Any]] = [
        {"seal_authorization": True},
        {"verify_evidence": Verifier()},
    ]
    for choice in choices:
        with pytest.raises(errors.ConfigurationError, match="sealed"):
            Protection.load(profile="output", **choice)


def first_use(server: SealedServer, path: Path, **settings: Any) -> Protection:
    return protection_for(server, trusts_first_use=True, known_servers=path, **settings)


def test_the_first_identity_is_remembered_and_another_is_refused(
    driver: Driver, sealed: SealedServer, tmp_path: Path
) -> None:
    path = tmp_path / "known"
    assert driver.ask(sealed, protection=first_use(sealed, path)).status == 200
    (line,) = [it for it in path.read_text().splitlines() if not it.startswith("#")]
    base_url, fingerprint, _ = line.split()
    assert base_url.startswith("http://server.test")
    assert fingerprint == sealed.fingerprint
    # Another client of the same user.
    assert driver.ask(sealed, protection=first_use(sealed, path)).status == 200
    other = SealedServer()
    answer = driver.ask(other, asked=PROMPT, protection=first_use(other, path))
    assert type(answer.error) is errors.IdentityChangedError
    assert other.attempts == []
    # And one that knew the first from its own requests.
    protection = first_use(sealed, path)
    assert driver.ask(sealed, protection=protection).status == 200
    sealed.ring = other.ring
    answer = driver.ask(sealed, asked=PROMPT, protection=protection)
    assert type(answer.error) is errors.IdentityChangedError
    assert not is_seen(sealed, ASKED)


def test_an_identity_whose_evidence_was_refused_is_not_remembered(
    driver: Driver, tmp_path: Path
) -> None:
    path = tmp_path / "known"
    bad, good = SealedServer(), attested()
    verifier = Verifier()
    protection = first_use(bad, path, verify_evidence=verifier)
    answer = driver.ask(bad, protection=protection)
    assert type(answer.error) is errors.EvidenceError
    assert not path.exists()
    protection = first_use(good, path, verify_evidence=verifier)
    assert driver.ask(good, protection=protection).status == 200
    assert good.fingerprint in path.read_text()


def test_an_identity_that_only_answered_is_not_remembered(
    driver: Driver, tmp_path: Path
) -> None:
    """It is learnt from a document, not from an answer that does not open."""
    path = tmp_path / "known"
    honest, evil = SealedServer(), SealedServer()
    honest.tamper_document = lambda wire: NO_DOCUMENT["404"]

    def impersonate(wire: Wire) -> Wire:
        request = honest.received[-1]
        keys = evil.ring.current(unix_ms())
        forged = honest.sealed_under(keys, request)
        return forged

    honest.tamper = impersonate
    answer = driver.ask(honest, protection=first_use(honest, path))
    assert isinstance(answer.error, errors.StatementError)
    assert not path.exists()


def test_a_pin_wins_over_first_use(
    driver: Driver, sealed: SealedServer, tmp_path: Path
) -> None:
    path = tmp_path / "known"
    assert driver.ask(sealed, protection=first_use(sealed, path)).status == 200
    other = SealedServer()
    pinned = first_use(other, path, pins=frozenset({other.fingerprint}))
    assert driver.ask(other, protection=pinned).status == 200
    pinned = first_use(other, path, pins=frozenset({sealed.fingerprint}))
    answer = driver.ask(other, asked=PROMPT, protection=pinned)
    assert type(answer.error) is errors.IdentityMismatchError
    assert not is_seen(other, ASKED)


def test_without_a_pin_there_are_no_sealed_requests() -> None:
    with pytest.raises(errors.ConfigurationError, match="identity="):
        Protection(ClientSettings(profile=PROFILE_SEALED))
    with pytest.raises(errors.ConfigurationError, match="identity="):
        Protection.load()
    with pytest.raises(errors.ConfigurationError, match="identity="):
        Protection.load(profile="sealed", trust_on_first_use=False)


def test_each_of_several_pins_does(driver: Driver, sealed: SealedServer) -> None:
    other = IdentityKey.generate().fingerprint
    pins = frozenset({other, sealed.fingerprint})
    protection = protection_for(sealed, pins=pins)
    assert driver.ask(sealed, protection=protection).status == 200
