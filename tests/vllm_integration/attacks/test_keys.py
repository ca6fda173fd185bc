"""A relay that serves key documents of its own, none, or old ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.errors import (
    IdentityChangedError,
    IdentityMismatchError,
    KeyDocumentError,
    StatementRolledBackError,
    UnprotectedResponseError,
)
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.key_document import KeyDocument
from tests.vllm_integration.attacks import forging
from tests.vllm_integration.attacks.clients import Asking, asking
from tests.vllm_integration.attacks.impostor import (
    WORDS,
    Impostor,
    chunk,
    completion,
)
from tests.vllm_integration.attacks.relay import Relay, Reply, Request
from tests.vllm_integration.attacks.request_moves import text_of
from tests.vllm_integration.conftest import Identity

pytestmark = pytest.mark.vllm

JSON = (("content-type", "application/json"),)
HTML = (("content-type", "text/html"),)
EVENTS = (("content-type", "text/event-stream"),)
STATUSES = (400, 401, 403, 404, 405, 410, 415, 422, 425, 426, 500, 501, 503)
Ways = Callable[[str], Callable[[Relay, Request], Reply]]


def name(function: object) -> str:
    return getattr(function, "__name__", "")


@pytest.fixture
def key(identity: Identity) -> IdentityKey:
    """The server's own identity key, for what was signed with it at other times."""
    return IdentityKey.from_pem(identity.path.read_bytes())


def served(text: str) -> Callable[[Relay, Request], Reply]:
    """Serve a key document to whoever asks for one."""

    def move(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return Reply(200, JSON, forging.document_reply(text))
        return relay.forward(request)

    return move


def brought_by_a_422(text: str) -> Callable[[Relay, Request], Reply]:
    """Answer what is asked with a 422 that brings a key document."""

    def move(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return relay.forward(request)
        return Reply(422, JSON, forging.key_unknown(text))

    return move


def brought_in_place_of_the_first(text: str) -> Callable[[Relay, Request], Reply]:
    """Have no document to serve, and answer with a 422 that brings one."""

    def move(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return Reply(404, (), b"")
        return Reply(422, JSON, forging.key_unknown(text))

    return move


WAYS = (served, brought_by_a_422, brought_in_place_of_the_first)


def _document(relay: Relay) -> KeyDocument:
    """Return the server's own document."""
    asked = Request("GET", "/.well-known/output-protection", (("host", "x"),), b"")
    reply = relay.forward(asked)
    text = reply.body.split(b'"document": "')[1].split(b'"')[0].decode()
    return KeyDocument.from_text(text)


@pytest.mark.parametrize("way", WAYS, ids=name)
@pytest.mark.parametrize("forge", forging.FORGED, ids=name)
def test_forged_document_is_sealed_to_by_nobody(
    relay: Relay, client: Asking, forge: forging.Forge, way: Ways
) -> None:
    relay.move = way(forge(_document(relay)))

    outcome = client.ask()

    assert outcome.is_refused_with(forging.FORGED[forge])
    # What was sealed was sealed to the server.
    assert len(relay.sealed) == (way is not served)


@pytest.mark.parametrize("way", WAYS, ids=name)
@pytest.mark.parametrize("forge", forging.EXPIRED, ids=name)
def test_document_of_another_time_is_sealed_to_by_nobody(
    relay: Relay,
    client: Asking,
    key: IdentityKey,
    forge: Callable[[IdentityKey], str],
    way: Ways,
) -> None:
    relay.move = way(forge(key))

    outcome = client.ask()

    if (forge, way) == (forging.expired, brought_by_a_422):
        # It is not newer than the one sealed to, so it is not even looked at.
        assert outcome.is_status(422, mark=Mark.UNAUTHENTICATED)
    else:
        assert outcome.is_refused_with(forging.EXPIRED[forge])
    assert len(relay.sealed) == (way is not served)


@pytest.mark.parametrize("way", [served, brought_by_a_422], ids=name)
@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "first-use"])
def test_rolled_back_document_is_noticed_by_a_client_that_starts_again(
    relay: Relay,
    identity: Identity,
    key: IdentityKey,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: Ways,
    pinned: bool,
) -> None:
    monkeypatch.setenv("SG_KNOWN_SERVERS_FILE", str(tmp_path / "known_servers"))
    monkeypatch.setenv("SG_TRUST_ON_FIRST_USE", "1")
    pin = identity.fingerprint if pinned else None
    with asking(relay, pin) as first:
        assert first.ask().is_the_truth()
    sealed = len(relay.sealed)
    old = forging.ended_a_minute_ago(key)
    relay.move = way(old)

    with asking(relay, pin) as second:
        outcome = second.ask()

    if way is brought_by_a_422:
        # It is not newer than the one sealed to, so it is not even looked at.
        assert outcome.is_status(422, mark=Mark.UNAUTHENTICATED)
        assert len(relay.sealed) == sealed + 1
    else:
        assert outcome.is_refused_with(StatementRolledBackError)
        assert len(relay.sealed) == sealed


def test_limit_secret_of_an_epoch_opens_requests_while_nothing_newer_is_known(
    open_relay: Relay, identity: Identity, key: IdentityKey
) -> None:
    """What the tests above forbid would succeed: the clock lets the document pass."""
    open_relay.move = served(forging.ended_a_minute_ago(key))

    with asking(open_relay, identity.fingerprint) as client:
        outcome = client.ask()

    # The server has no such key, and its own document is newer.
    assert outcome.is_the_truth()
    opened = [forging.opens(text_of(request)) for request in open_relay.sealed]
    assert opened == [True, False]


def test_older_document_is_not_sealed_to_once_a_newer_one_is_known(
    relay: Relay, client: Asking, key: IdentityKey
) -> None:
    honest = _document(relay)
    relay.move = served(forging.retires_at_set_to(honest, 1))
    assert client.ask().is_the_truth()  # And it will ask for a document again.
    older = forging.document_of(
        key,
        epoch=honest.statement.epoch - forging.MINUTE_MS,
        not_after=honest.statement.not_after + forging.MINUTE_MS,
    )
    relay.move = served(older)

    assert client.ask().is_the_truth()
    assert len(relay.sealed) == 2


def test_retires_at_that_was_changed_costs_a_round_trip_only(
    relay: Relay, client: Asking
) -> None:
    honest = _document(relay)

    for moment in (0, 1, forging.now_ms(), 2**63, 2**64 - 1):
        relay.move = served(forging.retires_at_set_to(honest, moment))
        assert client.ask().is_the_truth()


@pytest.mark.parametrize("part", ["everything", "answers", "document"])
def test_server_of_the_relays_own_is_not_the_pinned_one(
    relay: Relay, client: Asking, impostor: Impostor, part: str
) -> None:
    def answered_by_the_impostor(relay: Relay, request: Request) -> Reply:
        is_document = part == "document"
        if part == "everything" or request.is_for_a_document == is_document:
            return relay.forward(request, port=impostor.port)
        return relay.forward(request)

    relay.move = answered_by_the_impostor

    assert client.ask().is_refused_with(IdentityMismatchError)
    assert impostor.bodies == []


def test_identity_that_changes_after_first_use_is_noticed(
    relay: Relay,
    impostor: Impostor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SG_KNOWN_SERVERS_FILE", str(tmp_path / "known_servers"))
    with asking(relay, None, trust_on_first_use=True) as first:
        assert first.ask().is_the_truth()
    relay.move = lambda relay, request: relay.forward(request, port=impostor.port)

    with asking(relay, None, trust_on_first_use=True) as second:
        outcome = second.ask()

    assert outcome.is_refused_with(IdentityChangedError)
    assert impostor.bodies == []


def test_limit_whoever_answers_first_is_trusted_without_a_pin(
    open_relay: Relay,
    impostor: Impostor,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SG_KNOWN_SERVERS_FILE", str(tmp_path / "known_servers"))
    open_relay.move = lambda relay, request: relay.forward(request, port=impostor.port)

    with asking(open_relay, None, trust_on_first_use=True) as client:
        outcome = client.ask()

    assert outcome.said == WORDS
    assert b"secret sentence" in impostor.bodies[0]


@pytest.mark.parametrize("status", STATUSES)
def test_no_status_makes_a_client_send_something_else(
    relay: Relay, client: Asking, status: int
) -> None:
    relay.move = _answering(lambda request: Reply(status, JSON, _no(status)))

    outcome = client.ask()

    assert outcome.is_status(status, mark=Mark.UNAUTHENTICATED, code="no")
    assert len(relay.sealed) == 1
    assert b"sgop1-request." in relay.sealed[0].body


@pytest.mark.parametrize("status", STATUSES)
def test_no_status_in_place_of_the_document_makes_it_send_something_else(
    relay: Relay, client: Asking, status: int
) -> None:
    relay.move = lambda relay, request: Reply(status, JSON, _no(status))

    outcome = client.ask()

    # It asks for a document once more, with a message that holds nothing.
    assert outcome.is_status(status, mark=Mark.UNAUTHENTICATED, code="no")
    assert len(relay.requests) == 2
    assert b"sgop1-request." in relay.sealed[0].body


MISSING = {
    "not there": Reply(404, HTML, b"<h1>Not found</h1>"),
    "a page": Reply(200, HTML, b"<h1>Welcome</h1>"),
    "other JSON": Reply(200, JSON, b'{"object": "list"}'),
    "a list": Reply(200, JSON, b"[]"),
    "a number": Reply(200, JSON, b'{"document": 5}'),
    "other text": Reply(200, JSON, b'{"document": "sgop1.AAAA"}'),
    "an answer": Reply(200, JSON, completion("sgop1-keys.")),
    "nothing": Reply(204, (), b""),
    "a redirect": Reply(302, (("location", "/v1/models"),), b""),
    "an error": Reply(503, JSON, b"{}"),
}


@pytest.mark.parametrize("missing", MISSING)
def test_missing_document_is_asked_for_in_place_of_the_first_request(
    relay: Relay, client: Asking, missing: str
) -> None:
    relay.move = lambda relay, request: (
        MISSING[missing] if request.is_for_a_document else relay.forward(request)
    )

    assert client.ask().is_the_truth()
    assert [reply.status for reply in relay.replies] == [422, 200]


def test_document_that_is_missing_everywhere_fails_the_request(
    relay: Relay, client: Asking
) -> None:
    withheld = b'{"error": {"message": "Ask again.", "code": "key_unknown"}}'
    relay.move = lambda relay, request: Reply(422, JSON, withheld)

    outcome = client.ask()

    assert outcome.is_status(422, mark=Mark.UNAUTHENTICATED, code="key_unknown")
    assert len(relay.sealed) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("withheld", [False, True], ids=["served", "withheld"])
def test_success_of_the_relays_own_is_refused(
    relay: Relay, client: Asking, stream: bool, withheld: bool
) -> None:
    words = chunk(WORDS) + b"data: [DONE]\n\n"
    made_up = Reply(200, EVENTS, words) if stream else _made_up()
    relay.move = _answering(lambda request: made_up, withheld=withheld)

    outcome = client.ask(stream=stream)

    assert outcome.is_refused_with(UnprotectedResponseError)


def test_document_is_acted_on_once_for_each_request(
    relay: Relay, client: Asking
) -> None:
    """A relay that always says 422, each time with the server's newest document."""

    def always_422(relay: Relay, request: Request) -> Reply:
        if request.is_for_a_document:
            return Reply(404, (), b"")
        text = _document(relay).to_text()
        return Reply(422, JSON, forging.key_unknown(text))

    relay.move = always_422

    outcome = client.ask()

    assert outcome.is_status(422, mark=Mark.UNAUTHENTICATED, code="key_unknown")
    assert len(relay.sealed) == 2


def test_code_of_ours_with_the_document_that_was_sealed_to_changes_nothing(
    relay: Relay, client: Asking
) -> None:
    relay.move = brought_by_a_422(_document(relay).to_text())

    outcome = client.ask()

    assert outcome.is_status(422, mark=Mark.UNAUTHENTICATED, code="key_unknown")
    assert len(relay.sealed) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 409, 425, 500])
def test_document_brought_by_another_status_changes_nothing(
    relay: Relay, client: Asking, key: IdentityKey, status: int
) -> None:
    now = forging.now_ms()
    newer = forging.document_of(key, epoch=now, not_after=now + 10 * forging.MINUTE_MS)
    relay.move = _answering(
        lambda request: Reply(status, JSON, forging.key_unknown(newer))
    )

    outcome = client.ask()

    assert outcome.is_status(status, mark=Mark.UNAUTHENTICATED, code="key_unknown")
    assert len(relay.sealed) == 1


def test_document_that_is_too_large_is_no_document(
    relay: Relay, client: Asking
) -> None:
    relay.move = served("sgop1-keys." + "A" * 200_000)

    assert client.ask().is_refused_with(KeyDocumentError)


def _answering(
    answer: Callable[[Request], Reply], *, withheld: bool = False
) -> Callable[[Relay, Request], Reply]:
    def move(relay: Relay, request: Request) -> Reply:
        if not request.is_for_a_document:
            return answer(request)
        return Reply(404, (), b"") if withheld else relay.forward(request)

    return move


def _made_up() -> Reply:
    return Reply(200, JSON, completion(WORDS))


def _no(status: int) -> bytes:
    return b'{"error": {"message": "Send it in the clear.", "code": "no"}}'
