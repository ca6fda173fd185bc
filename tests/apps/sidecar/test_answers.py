"""Answers of an engine through the sidecar: every dialect, and not a byte changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from stainedglass_output_protection.asgi import protect
from tests.apps.sidecar.engines import (
    CUTS,
    DIALECTS,
    Asked,
    Engine,
    answering,
    events,
    running,
    say,
)
from tests.apps.sidecar.sidecars import beside, client_of, posted, sdk_of
from tests.asgi.applications import ASK, CANARY, PIECES, Identity, answer
from tests.asgi.serving import fetched, served
from tests.asgi_driver import answering as app_answering

PROFILES = pytest.mark.parametrize("profile", ["sealed", "output"])
STREAM = {**ASK, "stream": True}


@PROFILES
@pytest.mark.parametrize("opaque", [False, True], ids=["fields", "opaque"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_openai_sdk_reads_what_the_engine_said(
    identity: Identity, dialect: str, profile: str, opaque: bool
) -> None:
    choices: dict[str, Any] = {"profile": profile, "opaque": opaque}
    with (
        running(Engine(answering(dialect))) as engine,
        beside(engine.address) as sidecar,
        sdk_of(sidecar.url, identity, **choices) as sdk,
    ):
        whole = sdk.chat.completions.create(**ASK)
        stream = sdk.chat.completions.create(**STREAM)
        pieces = [it.choices[0].delta.content for it in stream if it.choices]

    assert whole.choices[0].message.content == "".join(PIECES)
    assert pieces == PIECES
    for piece in (CANARY, *PIECES):
        assert piece.encode() not in sidecar.wire


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_in_process_and_beside_it_the_client_gets_the_same_bytes(
    identity: Identity, dialect: str, cut: str
) -> None:
    pieces = events(dialect)
    if cut == "one piece":
        pieces = [b"".join(pieces)]
    if cut == "bytes":
        pieces = [bytes([it]) for piece in pieces for it in piece]
    inside = protect(app_answering(*pieces), identity_key_file=identity.path)
    with served(inside) as url:
        in_process = posted(url, identity, STREAM)
    with (
        running(Engine(answering(dialect, cut))) as engine,
        beside(engine.address) as sidecar,
    ):
        beside_it = posted(sidecar.url, identity, STREAM)

    assert beside_it.content == in_process.content
    assert beside_it.headers["content-type"] == in_process.headers["content-type"]
    for piece in PIECES:
        assert piece.encode() in in_process.content


def test_in_process_and_beside_it_a_whole_answer_is_the_same(
    identity: Identity,
) -> None:
    async def serve(asked: Asked, writer: Any) -> None:
        say(writer, b'{ "odd":  [1,2 ],"text":"' + CANARY.encode() + b'"}')

    said = b'{ "odd":  [1,2 ],"text":"' + CANARY.encode() + b'"}'
    app = app_answering(said, content_type="application/json")
    with served(protect(app, identity_key_file=identity.path)) as url:
        in_process = posted(url, identity, ASK)
    with running(Engine(serve)) as engine, beside(engine.address) as sidecar:
        beside_it = posted(sidecar.url, identity, ASK)

    assert beside_it.content == in_process.content == said


def test_what_the_engine_is_asked(identity: Identity) -> None:
    with running(Engine(answering())) as engine, beside(engine.address) as sidecar:
        posted(sidecar.url, identity, ASK, profile="output")
        told = posted(sidecar.url, identity, ASK)

    plain, sealed = (it for it in engine.asked if it.method == "POST")
    assert told.json() == answer()
    for asked in (plain, sealed):
        assert asked.path == "/v1/chat/completions"
        assert asked.headers["accept-encoding"] == "identity"
        assert b"What is played?" in asked.body
        assert "x-sealed-request" not in asked.headers


def test_an_engine_that_refuses_members_of_ours_gets_none(identity: Identity) -> None:
    with (
        running(Engine(answering())) as engine,
        beside(engine.address, adds_members=False) as sidecar,
    ):
        posted(sidecar.url, identity, ASK)
        with client_of(identity) as client:
            own = {"model": "m", "input": "?", "previous_response_id": "resp_1"}
            told = client.post(f"{sidecar.url}/v1/responses", json=own)

    (asked,) = (it for it in engine.asked if it.method == "POST")
    assert json.loads(asked.body) == ASK
    assert (told.status_code, told.json()["error"]["code"]) == (
        404,
        "response_not_found",
    )


def test_of_two_members_of_one_name_the_engine_gets_the_one_that_was_judged(
    identity: Identity,
) -> None:
    name = "previous_response_id"
    body = f'{{"model":"m","input":"?","{name}":"resp_1","{name}":null}}'
    with (
        running(Engine(answering())) as engine,
        beside(engine.address, adds_members=False) as sidecar,
        client_of(identity) as client,
    ):
        told = client.post(
            f"{sidecar.url}/v1/responses",
            content=body,
            headers={"content-type": "application/json"},
        )

    assert told.status_code == 200
    assert (
        engine.asked[-1].body
        == b'{"model":"m","input":"?","previous_response_id":null}'
    )


def test_an_api_key_reaches_the_engine(identity: Identity) -> None:
    with (
        running(Engine(answering())) as engine,
        beside(engine.address) as sidecar,
        sdk_of(sidecar.url, identity) as sdk,
    ):
        sdk.chat.completions.create(**ASK)

    assert engine.asked[-1].headers["authorization"] == "Bearer k"


def test_an_api_key_sealed_inside_reaches_the_engine(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SG_SEALED_AUTHORIZATION", "true")
    with (
        running(Engine(answering())) as engine,
        beside(engine.address) as sidecar,
        sdk_of(sidecar.url, identity, seal_authorization=True) as sdk,
    ):
        sdk.chat.completions.create(**ASK)

    assert engine.asked[-1].headers["authorization"] == "Bearer k"


def test_an_engine_at_a_socket(identity: Identity, tmp_path: Path) -> None:
    engine = Engine(answering(), path=tmp_path / "engine.sock")
    with running(engine), beside(engine.address) as sidecar:
        told = posted(sidecar.url, identity, STREAM)
        assert sidecar.ready() == (200, "")

    assert told.content.count(b"data: ") == len(events())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/models", 200),
        ("POST", "/generate", 403),
        ("GET", "/get_server_info", 403),
        ("POST", "/v1/chat/completions", 400),
        ("GET", "/health/..%2fv1/chat/completions", 403),
    ],
)
def test_what_is_served_without_a_key(method: str, path: str, status: int) -> None:
    with running(Engine(answering())) as engine, beside(engine.address) as sidecar:
        told = fetched(sidecar.url + path, method, json=ASK)

    assert told.status_code == status
    assert len(engine.asked) == (status == 200)


def test_an_error_of_the_engine_stays_an_error_and_is_sealed(
    identity: Identity,
) -> None:
    async def serve(asked: Asked, writer: Any) -> None:
        body = b'{"error":{"message":"no ' + CANARY.encode() + b' in here"}}'
        say(writer, body, status="400 Bad Request")

    with (
        running(Engine(serve)) as engine,
        beside(engine.address) as sidecar,
        sdk_of(sidecar.url, identity) as sdk,
        pytest.raises(openai.BadRequestError, match=CANARY),
    ):
        sdk.chat.completions.create(**ASK)

    assert CANARY.encode() not in sidecar.wire
