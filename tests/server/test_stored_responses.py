"""Responses that the server would keep are refused, whichever way they are asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from tests.asgi_driver import Opened, body_of, protect
from tests.server.asking import CANARY, Recorder, ask, fresh

PAIR, KEY = fresh()
CREATE = "/v1/responses"


def mounted() -> FastAPI:
    """Return an application with the Responses API's routes, which tell too much."""
    app = FastAPI()
    methods = ["GET", "POST"]
    for path in (
        CREATE,
        f"{CREATE}/{{response_id}}",
        f"{CREATE}/{{response_id}}/cancel",
    ):
        app.add_api_route(path, lambda: PlainTextResponse(CANARY), methods=methods)
    return app


async def answer(
    target: Any, /, *pieces: bytes, **asked: Any
) -> tuple[int, int, bytes]:
    """Return the outer status, the inner one and the opened body."""
    sent = await ask(target, *pieces, header_keys=[KEY], **asked)
    assert CANARY.encode() not in body_of(sent)
    opened = Opened(sent, PAIR)
    assert opened.is_complete
    return sent[0]["status"], opened.status or 0, opened.body


def is_refused(answered: tuple[int, int, bytes]) -> bool:
    """Tell whether an answer is the sealed refusal; else it must be the application's."""
    status, inner, body = answered
    if status == inner == 200:
        return False
    assert (status, inner) == (403, 403)
    assert json.loads(body)["error"]["code"] == "stored_response_refused"
    return True


async def create(body: bytes, **options: Any) -> bool:
    """Tell whether a request to make a response is refused."""
    app = Recorder()
    refused = is_refused(await answer(protect(app, **options), body, path=CREATE))
    assert app.calls == (not refused)
    return refused


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{CREATE}/resp_1"),
        ("POST", f"{CREATE}/resp_1/cancel"),
        ("GET", f"{CREATE}/resp_1/cancel"),
        ("POST", f"{CREATE}/resp_1"),
        ("GET", f"{CREATE}/health"),
        ("GET", f"{CREATE}/v1"),
    ],
)
async def test_a_stored_response_is_not_given_away(method: str, path: str) -> None:
    app = mounted()
    for has_store in (True, False):
        target = protect(app, has_store=has_store)
        asked = await answer(target, method=method, path=path, app=app)
        assert is_refused(asked)
    target = protect(app, allows_stored=True)
    asked = await answer(target, method=method, path=path, app=app)
    assert not is_refused(asked)


@pytest.mark.parametrize("value", [True, 1, "true", "yes", "on", "1", "t", 2, [0], {}])
async def test_every_word_for_background_is_refused(value: Any) -> None:
    body = json.dumps({"background": value, "store": False}).encode()
    assert await create(body)
    assert await create(body, has_store=False)
    assert not await create(body, allows_stored=True)


@pytest.mark.parametrize("value", [False, None])
async def test_what_is_plainly_not_background_is_served(value: Any) -> None:
    body = json.dumps({"background": value, "store": False}).encode()
    assert not await create(body)


@pytest.mark.parametrize(
    ("members", "with_store", "without_store"),
    [
        ({}, True, False),
        ({"store": True}, True, False),
        ({"store": None}, True, False),
        ({"store": "false"}, True, False),
        ({"store": 0}, True, False),
        ({"store": False}, False, False),
        ({"store": False, "previous_response_id": "resp_1"}, True, True),
        ({"store": False, "previous_response_id": None}, False, False),
        ({"metadata": {"background": True}, "store": False}, False, False),
    ],
)
async def test_a_response_is_kept_unless_the_client_says_otherwise(
    members: dict[str, Any], with_store: bool, without_store: bool
) -> None:
    body = json.dumps({"input": "hi", **members}).encode()
    assert await create(body) is with_store
    assert await create(body, has_store=False) is without_store
    assert not await create(body, allows_stored=True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
async def test_another_encoding_hides_nothing(encoding: str) -> None:
    body = '{"background":true,"store":false}'.encode(encoding)
    assert await create(body)


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b'{"store":false,"background":true,"background":false}', False),
        (b'{"store":false,"background":false,"background":true}', True),
        (b'{"store":true,"store":false}', False),
        (b'{"store":false,"store":true}', True),
        (b'{"store":false,"back\\u0067round":true}', True),
        (b'{"store":false,"x":NaN,"background":true}', True),
    ],
)
async def test_of_a_doubled_member_the_one_that_the_application_reads_counts(
    body: bytes, refused: bool
) -> None:
    assert await create(body) is refused
    # The other parser takes over where the client key is a member.
    member = f'{{"sg_client_public_key":"{KEY}",'.encode()
    assert await create(member + body[1:]) is refused


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_the_application_s_to_refuse(
    body: bytes,
) -> None:
    assert not await create(body)


async def test_other_routes_may_have_members_of_these_names() -> None:
    body = b'{"background":true,"store":true}'
    asked = await answer(protect(Recorder()), body, path="/v1/chat/completions")
    assert not is_refused(asked)


async def test_no_part_of_an_id_or_of_the_body_is_repeated() -> None:
    app = mounted()
    secret = "resp_heliotrope"
    _, _, body = await answer(
        protect(app), b'{"heliotrope":1}', path=f"{CREATE}/{secret}", app=app
    )
    assert b"heliotrope" not in body


@pytest.mark.parametrize("content_type", [None, "text/plain", "multipart/form-data"])
async def test_another_content_type_hides_nothing(content_type: str | None) -> None:
    app = Recorder()
    sent = await ask(
        protect(app),
        b'{"background":true}',
        path=CREATE,
        content_type=content_type,
        header_keys=[KEY],
    )
    assert Opened(sent, PAIR).status == 403
    assert app.calls == 0
