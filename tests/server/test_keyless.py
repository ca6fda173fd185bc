"""Requests for protected routes that offer no key, under each policy of the operator."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from stainedglass_output_protection.errors import ResponseError
from stainedglass_output_protection.server.policy import KeylessPolicy
from tests.asgi_driver import CHAT, Opened, answering, body_of, header_of, protect
from tests.server.asking import ANSWER, CANARY, JSON, Recorder, ask, code_of, fresh

PAIR, KEY = fresh()
EVENT = (
    b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,'
    b'"delta":{"content":"' + CANARY.encode() + b'"}}]}\n\n'
)


async def test_a_request_without_a_key_is_refused_unless_the_operator_says_else() -> (
    None
):
    every: list[dict[str, Any]] = [{}, {"keyless": KeylessPolicy.REQUIRED}]
    for options in every:
        app = Recorder()
        sent = await ask(protect(app, **options), b"{}")
        assert code_of(sent) == (400, "client_key_missing")
        assert header_of(sent, b"x-should-retry") == [b"false"]
        assert app.calls == 0


@pytest.mark.parametrize("body", [b"", b"{}", b'{"stream":true}', b"\xff"])
async def test_discard_answers_a_probe_with_what_nobody_can_open(body: bytes) -> None:
    app = Recorder()
    sent = await ask(protect(app, keyless=KeylessPolicy.DISCARD), body)
    assert sent[0]["status"] == 200
    assert app.body == body
    wire = body_of(sent)
    assert wire.count(b"sgop1.") == 1
    assert CANARY.encode() not in wire
    with pytest.raises(ResponseError):
        Opened(sent, PAIR)


async def test_discard_seals_streams_too_and_each_to_another_key() -> None:
    target = protect(answering(EVENT, EVENT), keyless=KeylessPolicy.DISCARD)
    hashes = set()
    for _ in range(3):
        sent = await ask(target, b'{"stream":true}')
        assert CANARY.encode() not in body_of(sent)
        text = json.loads(body_of(sent).split(b"\n")[0].removeprefix(b"data: "))
        hashes.add(text["choices"][0]["delta"]["content"][: len("sgop1.") + 20])
    assert len(hashes) == 3


@pytest.mark.parametrize("policy", [KeylessPolicy.DISCARD, KeylessPolicy.ALLOW])
async def test_a_key_is_honoured_under_every_policy(policy: KeylessPolicy) -> None:
    target = protect(Recorder(), keyless=policy)
    sent = await ask(target, b"{}", header_keys=[KEY])
    assert Opened(sent, PAIR).body == ANSWER
    assert CANARY.encode() not in body_of(sent)
    body = json.dumps({"sg_client_public_key": KEY}).encode()
    assert Opened(await ask(target, body), PAIR).body == ANSWER


async def test_allow_answers_in_the_clear_and_drops_nothing() -> None:
    answer = answering(EVENT, headers=[(b"x-own", b"1")])
    sent = await ask(protect(answer, keyless=KeylessPolicy.ALLOW), b"{}")
    plain = await ask(answer, b"{}")
    assert sent == plain


async def test_allow_warns_each_time_the_number_of_clear_answers_doubles(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = protect(Recorder(), keyless=KeylessPolicy.ALLOW)
    warned = []
    with caplog.at_level(logging.WARNING):
        for number in range(1, 17):
            caplog.clear()
            await ask(target, b"{}")
            await ask(target, b"{}", header_keys=[KEY])
            if caplog.records:
                warned.append(number)
                assert f"{number} so far" in caplog.text
                assert CHAT in caplog.text
                assert CANARY not in caplog.text
    assert warned == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("policy", list(KeylessPolicy))
@pytest.mark.parametrize(
    ("body", "header_keys", "code"),
    [
        (b"{}", [KEY[:-1]], "client_key_malformed"),
        (b"{}", [""], "client_key_malformed"),
        (b'{"sg_client_public_key":null}', [], "client_key_malformed"),
        (b'{"sg_client_public_key":""}', [], "client_key_malformed"),
        (b"{}", [KEY, KEY], "client_key_duplicated"),
    ],
)
async def test_a_bad_key_is_never_taken_for_none(
    policy: KeylessPolicy, body: bytes, header_keys: list[str], code: str
) -> None:
    app = Recorder()
    sent = await ask(protect(app, keyless=policy), body, header_keys=header_keys)
    assert code_of(sent) == (400, code)
    assert app.calls == 0


@pytest.mark.parametrize("policy", list(KeylessPolicy))
async def test_no_policy_opens_a_route_that_is_not_in_the_table(
    policy: KeylessPolicy,
) -> None:
    app = Recorder()
    sent = await ask(protect(app, keyless=policy), b"{}", path="/v1/secret")
    assert code_of(sent) == (403, "route_not_protected")
    assert app.calls == 0


async def test_allow_refuses_stored_responses_all_the_same() -> None:
    app = Recorder()
    target = protect(app, keyless=KeylessPolicy.ALLOW)
    sent = await ask(target, b'{"background":true}', path="/v1/responses")
    assert code_of(sent) == (403, "stored_response_refused")
    assert header_of(sent, b"content-type") == [JSON.encode()]
    assert app.calls == 0
