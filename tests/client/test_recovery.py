"""A client's recovery tokens: one with each opened answer, for that one only."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from stainedglass_output_protection.client import httpx2_binding
from stainedglass_output_protection.client.saved_answer import open_saved_answer
from stainedglass_output_protection.errors import (
    ForeignResponseError,
    TruncatedError,
)
from stainedglass_output_protection.protocol.recovery import RecoveryToken
from tests.client.drivers import LIBRARIES, Answer, Driver, protection_for
from tests.client.fake_server import FakeServer, Wire, error_body
from tests.client.sealed_server import SealedServer


def token_of(answer: Answer) -> str:
    token: RecoveryToken = answer.extensions["output_protection"].recovery_token
    return token.reveal()


ASKED: dict[str, dict[str, Any]] = {
    "unary": {},
    "stream": {"stream": True},
    "error": {"asked": {"model": "unknown"}},
}


@pytest.mark.parametrize("kind", ASKED)
def test_what_was_seen_on_the_way_opens_to_what_was_read(
    fake: FakeServer, driver: Driver, kind: str
) -> None:
    answer = driver.ask(fake, **ASKED[kind])
    assert answer.error is None
    assert open_saved_answer(fake.sent[-1].body, token_of(answer)) == answer.body


def test_octets_open_too(sealed: SealedServer, driver: Driver) -> None:
    protection = protection_for(sealed, asks_opaque=True)
    answer = driver.ask(sealed, stream=True, protection=protection)
    stored = sealed.sent[-1].body
    assert b"sgop1." not in stored
    assert open_saved_answer(stored, token_of(answer)) == answer.body


def test_json_may_have_been_written_again(fake: FakeServer) -> None:
    answer = Driver("httpx2", False).ask(fake)
    kept = {"_id": 1, **json.loads(fake.sent[-1].body), "model": "renamed"}
    stored = json.dumps(kept, indent=4, sort_keys=True).encode("utf-8")
    assert open_saved_answer(stored, token_of(answer)) == answer.body


def test_a_token_opens_no_other_answer_to_the_same_client(fake: FakeServer) -> None:
    driver, protection = Driver("httpx2", False), protection_for(fake)
    one, two = (driver.ask(fake, protection=protection) for _ in range(2))
    assert token_of(one) != token_of(two)
    with pytest.raises(ForeignResponseError):
        open_saved_answer(fake.sent[-1].body, token_of(one))


def test_a_stored_answer_opens_when_the_server_has_forgotten_its_keys(
    sealed: SealedServer,
) -> None:
    answer = Driver("httpx2", False).ask(sealed)
    stored = sealed.sent[-1].body
    sealed.rotate()
    assert open_saved_answer(stored, token_of(answer)) == answer.body


def test_a_stream_that_was_cut_has_a_token_that_says_so(
    fake: FakeServer, driver: Driver
) -> None:
    def cut(wire: Wire) -> Wire:
        return Wire(wire.status, wire.headers, wire.parts[:3])

    fake.tamper = cut
    answer = driver.ask(fake, stream=True)
    assert isinstance(answer.error, TruncatedError)
    with pytest.raises(TruncatedError):
        open_saved_answer(fake.sent[-1].body, token_of(answer))


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_has_its_token_before_its_end(
    fake: FakeServer, is_async: bool
) -> None:
    library = LIBRARIES["httpx2"][0]
    request = library.Request(
        "POST", "http://server.test/v1/chat/completions", json={"stream": True}
    )
    transport = Driver("httpx2", is_async).transport(fake)

    async def first() -> Any:
        async with library.AsyncClient(transport=transport) as client:
            response = await client.send(request, stream=True)
            token = response.extensions["output_protection"].recovery_token
            await response.aclose()
            return token

    if is_async:
        token = asyncio.run(first())
    else:
        assert isinstance(transport, httpx2_binding.ProtectedTransport)
        with library.Client(transport=transport) as client:
            response = client.send(request, stream=True)
            token = response.extensions["output_protection"].recovery_token
            response.close()
    assert open_saved_answer(fake.sent[-1].body, token.reveal())


def test_what_was_not_opened_has_no_token(fake: FakeServer, driver: Driver) -> None:
    models = driver.ask(fake, method="GET", path="/v1/models", content=b"")
    page = Wire(502, {"content-type": "application/json"}, [error_body("no", 502)])
    fake.tamper = lambda wire: page
    failed = driver.ask(fake)
    for answer in (models, failed):
        assert answer.extensions["output_protection"].recovery_token is None


def test_no_log_and_no_repr_has_a_token(
    fake: FakeServer, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = driver.ask(fake, stream=True)
    digits = token_of(answer).partition(".")[2]
    shown = caplog.text + repr(answer) + str(answer.extensions) + repr(answer.headers)
    assert "RecoveryToken(<redacted>)" in shown
    assert not any(digits[at : at + 12] in shown for at in range(len(digits) - 12))
