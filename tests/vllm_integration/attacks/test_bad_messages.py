"""Sealed messages that no client makes: a 4xx each, and nothing reaches the engine."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.vllm_integration.attacks.clients import asking
from tests.vllm_integration.attacks.conftest import NothingRuns
from tests.vllm_integration.attacks.impostor import Impostor
from tests.vllm_integration.attacks.relay import Relay, Reply, Request
from tests.vllm_integration.attacks.request_moves import (
    CLIENT_KEY_AT,
    KEY_ID_AT,
    PREFIX,
    SEALED_AT,
    SUITE_AT,
    bytes_of,
    text_of,
    with_bytes,
    with_part,
    with_text,
)
from tests.vllm_integration.conftest import Identity

pytestmark = pytest.mark.vllm

MALFORMED = (400, "sealed_request_malformed")
BAD_KEY = (400, "client_key_malformed")
UNKNOWN = (422, "key_unknown")
TOO_LARGE = (413, "request_too_large")
_LIMIT = 65536  # SG_MAX_SEALED_REQUEST_BYTES in conftest.py
_LOW_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2**255 - 20,
    2**255 - 19,
    2**255 - 18,
)


def _cut_to(size: int) -> Callable[[Request], Request]:
    return lambda it: with_bytes(it, bytes_of(it)[:size])


def _part(at: int, part: bytes) -> Callable[[Request], Request]:
    return lambda it: with_part(it, at, part)


def _text(change: Callable[[str], str]) -> Callable[[Request], Request]:
    return lambda it: with_text(it, change(text_of(it)))


def _body(change: Callable[[bytes], bytes]) -> Callable[[Request], Request]:
    return lambda it: replace(it, body=change(it.body))


def _of_size(size: int) -> Callable[[Request], Request]:
    return lambda it: with_text(it, PREFIX + "A" * size)


BAD: dict[str, tuple[Callable[[Request], Request], tuple[int, str]]] = {
    "empty": (_text(lambda text: PREFIX), MALFORMED),
    **{
        f"cut to {size} bytes": (_cut_to(size), MALFORMED)
        for size in (1, 2, 9, 10, 41, 42, 43, 42 + 32, 42 + 1120, 42 + 1120 + 15)
    },
    "cut by a byte": (lambda it: with_bytes(it, bytes_of(it)[:-1]), MALFORMED),
    "a byte too many": (lambda it: with_bytes(it, bytes_of(it) + b"\0"), MALFORMED),
    "twice in one": (lambda it: with_bytes(it, bytes_of(it) * 2), MALFORMED),
    "noise": (lambda it: with_part(it, SEALED_AT, bytes(range(256)) * 4), MALFORMED),
    "zeros": (lambda it: with_part(it, SEALED_AT, bytes(1200)), MALFORMED),
    **{
        f"version {number}": (_part(0, bytes([number])), MALFORMED)
        for number in (0, 2, 255)
    },
    **{
        f"suite {number}": (_part(SUITE_AT, bytes([number])), MALFORMED)
        for number in (0, 1, 3, 255)
    },
    "no key id": (_part(KEY_ID_AT, bytes(8)), UNKNOWN),
    "another key id": (_part(KEY_ID_AT, b"another."), UNKNOWN),
    **{
        f"client key of low order {number}": (
            _part(CLIENT_KEY_AT, value.to_bytes(32, "little")),
            BAD_KEY,
        )
        for number, value in enumerate(_LOW_ORDER)
    },
    "client key exchanged": (_part(CLIENT_KEY_AT, b"\x09" * 32), MALFORMED),
    "not padded": (_text(lambda text: text.rstrip("=") + "A"), MALFORMED),
    "with a line end": (_text(lambda text: text + "\n"), MALFORMED),
    "with a space inside": (_text(lambda text: text[:99] + " " + text[99:]), MALFORMED),
    "url-safe": (_text(lambda text: text[:40] + "-_" + text[42:]), MALFORMED),
    "not ASCII": (_text(lambda text: text[:40] + "é" + text[41:]), MALFORMED),
    "half a surrogate pair": (
        _body(lambda it: it[:200] + b"\\ud800" + it[206:]),
        MALFORMED,
    ),
    "JSON cut short": (_body(lambda body: body[:-2]), MALFORMED),
    "not JSON": (_body(lambda body: b"<" + body), MALFORMED),
    "nested without end": (_body(lambda body: b"[" * 20_000 + body), MALFORMED),
    "in a header and the body": (
        lambda it: it.with_header("x-sealed-request", text_of(it)),
        MALFORMED,
    ),
    "in two headers": (
        lambda it: replace(
            it,
            body=b"",
            headers=(*it.headers, *[("x-sealed-request", text_of(it))] * 2),
        ),
        MALFORMED,
    ),
    "an upload without a boundary": (
        lambda it: it.with_header("content-type", "multipart/form-data"),
        MALFORMED,
    ),
    "larger than the limit": (_of_size(_LIMIT), TOO_LARGE),
    "far larger than the limit": (_of_size(40 * _LIMIT), TOO_LARGE),
    "padded to above the limit": (
        lambda it: it.with_members(user="x" * _LIMIT),
        TOO_LARGE,
    ),
}


@pytest.fixture
def unspent(relay: Relay, identity: Identity) -> Iterator[Request]:
    """A message that a client has sealed and the server has not seen.

    Whatever was done to it, it is still good afterwards.
    """
    relay.move = _held_back
    with asking(relay, identity.fingerprint) as client:
        assert client.ask().status == 502
    yield relay.sealed[0]
    assert relay.forward(relay.sealed[0]).status == 200


def _held_back(relay: Relay, request: Request) -> Reply:
    if request.is_for_a_document:
        return relay.forward(request)
    return Reply(502, (), b"")


def _is_refused(reply: Reply, status: int, code: str) -> bool:
    error = json.loads(reply.body)["error"]
    return (reply.status, error["code"]) == (status, code)


def test_nothing_of_a_bad_message_reaches_the_engine(
    relay: Relay, unspent: Request, nothing_runs: NothingRuns
) -> None:
    with nothing_runs():
        for name, (change, expected) in BAD.items():
            reply = relay.forward(change(unspent))
            assert _is_refused(reply, *expected), (name, reply)
            assert reply.header("x-should-retry") == "false", name
            assert b"A" * 1000 not in reply.body, name


def test_bad_message_without_an_api_key_is_refused_alike(
    relay: Relay, unspent: Request, nothing_runs: NothingRuns
) -> None:
    """The layer in front of authentication, which opens these."""
    with nothing_runs():
        for name, (change, expected) in BAD.items():
            request = change(unspent).with_header("authorization", None)
            assert _is_refused(relay.forward(request), *expected), name


def test_message_to_a_key_of_another_server_is_refused(
    relay: Relay, impostor: Impostor, unspent: Request, nothing_runs: NothingRuns
) -> None:
    pin = impostor.identity.fingerprint
    relay.move = lambda relay, request: (
        relay.forward(request, port=impostor.port)
        if request.is_for_a_document
        else Reply(502, (), b"")
    )
    with asking(relay, pin) as client:
        assert client.ask().status == 502
    foreign = relay.sealed[-1]
    named_ours = with_part(foreign, KEY_ID_AT, bytes_of(unspent)[KEY_ID_AT:][:8])

    with nothing_runs():
        assert _is_refused(relay.forward(foreign), *UNKNOWN)
        assert _is_refused(relay.forward(named_ours), *MALFORMED)


@pytest.mark.parametrize("size", [0, 1, 100, 5000])
def test_noise_in_place_of_everything_is_refused(
    relay: Relay, unspent: Request, size: int
) -> None:
    noise = base64.b64encode(bytes(size)).decode()
    for path in ("/v1/chat/completions", "/v1/embeddings", "/tokenize", "/v1/messages"):
        reply = relay.forward(replace(with_text(unspent, PREFIX + noise), target=path))
        assert 400 <= reply.status < 500
