"""What an intermediary can do to a client of profile sealed: no act lowers anything."""

from __future__ import annotations

import dataclasses
import itertools
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from stainedglass_output_protection import errors
from stainedglass_output_protection.client.request import Request
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.protocol.constants import (
    PROFILE_OUTPUT,
    SUITE_MLKEM768_X25519,
    SUITE_X25519,
)
from stainedglass_output_protection.protocol.key_schedule import (
    NO_REQUEST,
    RequestSecrets,
)
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.sealed_request import (
    SealedMessage,
    SealedRequest,
)
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import EpochKey
from stainedglass_output_protection.server.response_keys import ResponseKeys
from stainedglass_output_protection.server.sealed_requests import Opened, open_request
from tests.client.drivers import CHAT, Driver, protection_for
from tests.client.fake_server import (
    DONE,
    EVENTS,
    JSON,
    Received,
    Wire,
    chat_body,
    error_body,
    plain_events,
)
from tests.client.sealed_cases import ASKED, is_seen
from tests.client.sealed_server import SealedServer, ring_since

PROMPT = {"messages": [{"role": "user", "content": ASKED}]}
PLAIN = Wire(200, {"content-type": JSON}, [chat_body()])


def refusal(status: int, code: str) -> Wire:
    """Return a refusal of profile output's, or of something that knows no profile."""
    return Wire(status, {"content-type": JSON}, [error_body("Not like that.", code)])


# Each says in its way that this server, or what is before it, knows no sealed requests.
PERSUASIONS: dict[str, Wire] = {
    "400": refusal(400, "client_key_missing"),
    "malformed": refusal(400, "sealed_request_malformed"),
    "401": refusal(401, "invalid_api_key"),
    "403": refusal(403, "route_not_protected"),
    "404": refusal(404, "not_found"),
    "405": refusal(405, "method_not_allowed"),
    "413": refusal(413, "request_too_large"),
    "415": refusal(415, "unsupported"),
    "422": refusal(422, "key_unknown"),
    "425": refusal(425, "request_replayed"),
    "426": refusal(426, "upgrade"),
    "500": refusal(500, "error"),
    "501": Wire(501, {}, []),
    "503": refusal(503, "keys_unavailable"),
}


@pytest.mark.parametrize("has_document", [True, False])
@pytest.mark.parametrize("persuasion", PERSUASIONS)
def test_no_refusal_talks_it_out_of_sealing(
    persuasion: str, has_document: bool, driver: Driver, sealed: SealedServer
) -> None:
    wire = PERSUASIONS[persuasion]
    sealed.tamper = lambda _: wire
    if not has_document:
        sealed.tamper_document = lambda _: wire
    protection = protection_for(sealed)
    for stream in (False, True, False):
        answer = driver.ask(sealed, asked=PROMPT, stream=stream, protection=protection)
        assert (answer.error, answer.status) == (None, wire.status)
        assert answer.body == wire.body
        assert answer.headers["x-output-protection"] == "unauthenticated"
    assert len(sealed.attempts) == 3
    assert all(request.sealed_text for request in sealed.attempts)
    assert all(
        set(request.asked) == {"messages", "stream"} for request in sealed.attempts
    )
    assert not is_seen(sealed, ASKED)
    # And it is as ready as before.
    sealed.tamper = sealed.tamper_document = lambda wire: wire
    assert driver.ask(sealed, asked=PROMPT, protection=protection).body == chat_body()
    assert not is_seen(sealed, ASKED)


UNSEALED: dict[str, tuple[Wire, type[Exception]]] = {
    "an answer": (PLAIN, errors.UnprotectedResponseError),
    "a stream": (
        Wire(200, {"content-type": EVENTS}, [*plain_events(), DONE]),
        errors.UnprotectedResponseError,
    ),
    "nothing": (Wire(200, {}, []), errors.UnprotectedResponseError),
    "no content": (Wire(204, {}, []), errors.UnprotectedResponseError),
    "accepted": (Wire(202, {}, [b"{}"]), errors.UnprotectedResponseError),
    "redirect": (
        Wire(308, {"location": "http://server.test/v2"}, []),
        errors.RedirectRefusedError,
    ),
    "not modified": (Wire(304, {}, []), errors.RedirectRefusedError),
}


@pytest.mark.parametrize("has_document", [True, False])
@pytest.mark.parametrize("act", UNSEALED)
def test_what_is_not_sealed_is_no_answer(
    act: str, has_document: bool, driver: Driver, sealed: SealedServer
) -> None:
    wire, expected = UNSEALED[act]
    sealed.tamper = lambda _: wire
    if not has_document:
        sealed.tamper_document = lambda _: Wire(404, {}, [])
    answer = driver.ask(sealed, asked=PROMPT)
    assert type(answer.error) is expected
    assert answer.body == b""
    assert len(sealed.attempts) == 1
    assert not is_seen(sealed, ASKED)
    assert driver.closed == [True]


Forgery = Callable[[SealedServer, Received], Wire]


def current(server: SealedServer) -> EpochKey:
    return server.ring.current(unix_ms())


def with_its_keys(**changes: Any) -> Forgery:
    """Return the act of answering with the server's keys, and these changes."""

    def forge(server: SealedServer, request: Received) -> Wire:
        keys = server.response_keys(request)._asdict()
        return server.sealed_under(current(server), request, **{**keys, **changes})

    return forge


def with_secrets(**changes: bytes) -> Forgery:
    """Return the act of answering with the server's keys for another request."""

    def forge(server: SealedServer, request: Received) -> Wire:
        keys = server.response_keys(request)
        changed = keys.request._replace(**changes)
        return server.sealed_under(
            current(server), request, **{**keys._asdict(), "request": changed}
        )

    return forge


def in_profile_output(server: SealedServer, request: Received) -> Wire:
    """What a server of profile output would make of the key in the sealed message."""
    return server.sealed_under(
        current(server),
        request,
        profile=PROFILE_OUTPUT,
        suite=SUITE_X25519,
        request=NO_REQUEST,
    )


def under_another_epoch(server: SealedServer, request: Received) -> Wire:
    """Answered by the same identity, with all secrets, under an epoch not sealed to."""
    other = ring_since(unix_ms(), identity=server.ring.identity).current(unix_ms())
    digest = other.statement.digest
    secrets_ = server.response_keys(request).request._replace(digest=digest)
    return server.sealed_under(other, request, request=secrets_)


def by_another_identity(server: SealedServer, request: Received) -> Wire:
    return server.sealed_under(ring_since().current(unix_ms()), request)


def other_suite(server: SealedServer, request: Received) -> int:
    suite = SealedMessage.from_text(request.sealed_text).suite
    return SUITE_X25519 + SUITE_MLKEM768_X25519 - suite


FORGERIES: dict[str, tuple[Forgery, type[Exception]]] = {
    "the response key, but no secret": (
        lambda server, request: server.sealed_under(current(server), request),
        errors.DecryptionError,
    ),
    "another response secret": (
        with_secrets(response_secret=secrets.token_bytes(32)),
        errors.DecryptionError,
    ),
    "no response secret": (with_secrets(response_secret=b""), errors.DecryptionError),
    "another request's hash": (
        with_secrets(request_hash=bytes(32)),
        errors.DecryptionError,
    ),
    "profile output, sealed to its key": (
        in_profile_output,
        errors.UnexpectedParametersError,
    ),
    "profile output with the secrets": (
        with_its_keys(profile=PROFILE_OUTPUT),
        errors.UnexpectedParametersError,
    ),
    "an unknown profile": (with_its_keys(profile=3), errors.UnexpectedParametersError),
    "another suite": (
        lambda server, request: with_its_keys(suite=other_suite(server, request))(
            server, request
        ),
        errors.UnexpectedParametersError,
    ),
    "another client's key": (
        with_its_keys(client_public_key=ClientKeyPair.generate().public_key),
        errors.ForeignResponseError,
    ),
    "another epoch": (under_another_epoch, errors.StatementMismatchError),
    "another identity": (by_another_identity, errors.IdentityMismatchError),
}


@pytest.mark.parametrize("suite", [SUITE_X25519, SUITE_MLKEM768_X25519])
@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_answer_that_is_not_this_server_s_to_this_request_is_refused(
    forgery: str, suite: int, driver: Driver, sealed: SealedServer
) -> None:
    forge, expected = FORGERIES[forgery]
    sealed.tamper = lambda wire: forge(sealed, sealed.received[-1])
    protection = protection_for(sealed, suite=suite)
    answer = driver.ask(sealed, asked=PROMPT, protection=protection)
    assert type(answer.error) is expected
    assert answer.body == b""
    # Unforged, the same answer would have opened.
    sealed.tamper = lambda wire: with_its_keys()(sealed, sealed.received[-1])
    assert driver.ask(sealed, protection=protection).body == chat_body()


def test_what_answers_an_empty_message_is_no_answer(
    driver: Driver, sealed: SealedServer
) -> None:
    """Not even of the server itself: nothing was asked."""
    sealed.tamper_document = lambda _: Wire(404, {}, [])
    sealed.tamper = lambda _: sealed.sealed_under(
        current(sealed),
        sealed.received[-1],
        request=RequestSecrets(b"", NO_REQUEST.request_hash, b""),
    )
    answer = driver.ask(sealed, asked=PROMPT)
    assert type(answer.error) is errors.StatementMismatchError
    assert len(sealed.attempts) == 1


def two_streams(driver: Driver, server: SealedServer) -> tuple[Received, Wire]:
    """Ask once as this client; return the request and its answer."""
    assert driver.ask(server, stream=True).error is None
    return server.received[-1], server.sent[-1]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_to_another_request_of_the_client_is_refused(
    stream: bool, driver: Driver, sealed: SealedServer
) -> None:
    protection = protection_for(sealed)
    assert driver.ask(sealed, stream=stream, protection=protection).error is None
    first = sealed.sent[-1]
    sealed.tamper = lambda wire: first
    answer = driver.ask(sealed, stream=stream, protection=protection)
    assert type(answer.error) is errors.ForeignResponseError
    assert answer.body == b""


@pytest.mark.parametrize("at", [1, 4, 8])
def test_frames_of_an_answer_to_another_request_are_refused(
    at: int, driver: Driver, sealed: SealedServer
) -> None:
    protection = protection_for(sealed)
    assert driver.ask(sealed, stream=True, protection=protection).error is None
    first = sealed.sent[-1]
    sealed.tamper = lambda wire: dataclasses.replace(
        wire, parts=wire.parts[:at] + first.parts[at:]
    )
    answer = driver.ask(sealed, stream=True, protection=protection)
    assert type(answer.error) is errors.DecryptionError
    assert answer.body == b"".join(plain_events()[:at])


REFLECTIONS: dict[str, Callable[[Received], bytes]] = {
    "as it was": lambda request: request.body,
    "as the content": lambda request: chat_body(request.sealed_text),
    "with a frame's prefix": lambda request: chat_body(
        request.sealed_text.replace("sgop1-request.", "sgop1.")
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("act", REFLECTIONS)
def test_a_request_sent_back_is_no_answer(
    act: str, stream: bool, driver: Driver, sealed: SealedServer
) -> None:
    def reflect(wire: Wire) -> Wire:
        content = REFLECTIONS[act](sealed.received[-1])
        if not stream:
            return Wire(200, {"content-type": JSON}, [content])
        return Wire(200, {"content-type": EVENTS}, [b"data: " + content + b"\n\n"])

    sealed.tamper = reflect
    answer = driver.ask(sealed, asked=PROMPT, stream=stream)
    expected: tuple[type[Exception], ...] = (errors.UnprotectedResponseError,)
    if act == "with a frame's prefix":
        # Its version and suite stand where flags and numbers do.
        expected = (errors.MalformedFrameError, errors.SequenceError)
    assert type(answer.error) in expected
    assert answer.body == b""


def test_a_replayed_request_buys_nothing(driver: Driver, sealed: SealedServer) -> None:
    """What the network has seen, it may send again: to be refused."""
    assert driver.ask(sealed, asked=PROMPT).status == 200
    first = sealed.attempts[0]
    again = sealed.wire_of(first)
    assert again.status == 425
    assert len(sealed.app.calls) == 1
    assert json.loads(again.body)["error"]["message"].startswith("sgop1.")
    assert b"used already" not in again.body
    # The one who asked can read why, if the router gives him that.
    sealed.tamper = lambda wire: sealed._honest(sealed.received[-1])
    answer = driver.ask(sealed)
    assert answer.status == 425
    assert json.loads(answer.body)["error"]["code"] == "request_replayed"
    assert answer.headers["x-output-protection"] == "opened"


def test_no_repr_shows_a_secret(sealed: SealedServer) -> None:
    driver = Driver("httpx2", is_async=False)
    bearer = "Bearer sk-incarnadine"
    protection = protection_for(sealed, seals_authorization=True)
    asked = {"headers": {"authorization": bearer}, "asked": PROMPT}
    assert driver.ask(sealed, protection=protection, **asked).status == 200
    text = sealed.attempts[0].sealed_text
    opened = open_request(text, ring=sealed.ring)
    request = Request(
        "POST",
        ("http", "server.test", None),
        CHAT,
        CHAT,
        "",
        JSON,
        bearer,
        json.dumps(PROMPT).encode(),
    )
    exchange = protection.begin(request)
    outgoing = exchange.outgoing(request)
    shown = [
        protection,
        exchange,
        outgoing,
        request,
        opened,
        opened.request,
        opened.keys,
        opened.keys.request,
        SealedMessage.from_text(text),
        current(sealed),
        sealed.ring,
        ClientSettings(),
        *(it for it in vars(protection).values() if not isinstance(it, bytes)),
        *(it for it in vars(exchange).values() if not isinstance(it, bytes)),
    ]
    assert [type(it) for it in shown[4:8]] == [
        Opened,
        SealedRequest,
        ResponseKeys,
        RequestSecrets,
    ]
    hidden = [
        ASKED.encode(),
        b"incarnadine",
        opened.request.owner,
        opened.request.response_secret,
        opened.keys.shared_secret,
        opened.keys.request.request_hash,
    ]
    for value, show in itertools.product(shown, (repr, str, ascii)):
        said = show(value)
        for secret in hidden:
            for form in (secret.hex(), repr(secret)[2:-1]):
                assert form not in said, type(value)
