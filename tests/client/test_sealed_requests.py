"""What a sealed request shows on its way, and what of it arrives."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from openai.types.chat import completion_create_params as chat_params
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses import response_create_params as responses_params
from pydantic import TypeAdapter

from stainedglass_output_protection import errors
from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.protocol.constants import (
    CONTAINER_OPAQUE,
    OPAQUE_MEDIA_TYPE,
    SUITE_MLKEM768_X25519,
    SUITE_X25519,
)
from stainedglass_output_protection.protocol.owner import cache_salt, owns_response
from stainedglass_output_protection.protocol.sealed_request import SealedRequest
from stainedglass_output_protection.server.sealed_requests import open_request
from tests.client.drivers import CHAT, LIBRARIES, Driver, protection_for
from tests.client.fake_server import (
    JSON,
    MODELS,
    Received,
    Wire,
    chat_body,
    error_body,
    serve,
)
from tests.client.sealed_cases import (
    ANSWERED,
    ASKED,
    CASES,
    STREAMS,
    TEXT,
    Case,
    is_seen,
    streamed_answer,
)
from tests.client.sealed_server import SealedServer

CHAT_CASE = CASES[0]
SUITES = {"x25519": SUITE_X25519, "mlkem768-x25519": SUITE_MLKEM768_X25519}
AS_JSON = {"content-type": JSON}
# Headers that say something of the outer body, or carry what only the server needs.
NOT_INSIDE = ("x-sealed-request", "x-client-public-key", "transfer-encoding")


@pytest.fixture
def one() -> Driver:
    """A single driver, where the library does not matter."""
    return Driver("httpx2", is_async=False)


def ask(driver: Driver, server: SealedServer, case: Case, **settings: Any) -> Any:
    """Ask a case with a fresh client, whose answer is that of the case."""
    server.app.answer = lambda call: case.answer()
    return driver.ask(
        server,
        path=case.path,
        headers=AS_JSON,
        content=case.content,
        protection=protection_for(server, **settings),
    )


def inside(server: SealedServer, number: int = -1) -> SealedRequest:
    """Return what an attempt had sealed."""
    return open_request(server.attempts[number].sealed_text, ring=server.ring).request


def outside(request: Received) -> Any:
    """Return the JSON around the text, with a word in place of that."""
    return json.loads(request.body.replace(request.sealed_text.encode(), TEXT.encode()))


def with_added(case: Case, owner: bytes, body: bytes) -> bytes:
    """Return what the application has to get, whose ``body`` has the fresh id."""
    added = {}
    if "cache_salt" in case.added:
        added["cache_salt"] = cache_salt(owner)
    if "request_id" in case.added:
        response_id = json.loads(body)["request_id"]
        assert owns_response(owner, response_id)
        added["request_id"] = response_id
    ends = "".join(f',"{name}":"{added[name]}"' for name in added)
    return case.content[:-1] + ends.encode() + b"}"


@pytest.mark.parametrize("opaque", [False, True], ids=["fields", "opaque"])
@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_and_its_answer_arrive_whole_and_unseen(
    case: Case, suite: str, opaque: bool, driver: Driver, sealed: SealedServer
) -> None:
    answer = ask(driver, sealed, case, suite=SUITES[suite], asks_opaque=opaque)
    (call,) = sealed.app.calls
    request = inside(sealed)
    assert (call.method, call.path, call.query) == ("POST", case.path, "")
    assert call.body == with_added(case, request.owner, call.body)
    assert call.values("content-type") == [JSON]
    assert call.values("content-length") == [str(len(call.body))]
    assert not any(call.values(name) for name in NOT_INSIDE)
    assert answer.error is None
    assert (answer.status, answer.body) == (200, case.answer().body)
    assert answer.headers["content-type"] == JSON
    assert answer.headers["x-output-protection"] == "opened"
    assert len(sealed.attempts) == 1
    assert outside(sealed.attempts[0]) == case.outer
    outer_type = OPAQUE_MEDIA_TYPE if opaque else JSON
    assert sealed.sent[-1].headers["content-type"] == outer_type
    assert not is_seen(sealed, ASKED, ANSWERED, "424242424")
    assert driver.closed == driver.documents_closed == [True]


@pytest.mark.parametrize("opaque", [False, True], ids=["fields", "opaque"])
@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("path", STREAMS)
def test_a_streamed_answer_arrives_event_by_event_and_unseen(
    path: str, suite: str, opaque: bool, driver: Driver, sealed: SealedServer
) -> None:
    case = next(case for case in CASES if case.path == path)
    body = {**case.body, "stream": True}
    case = dataclasses.replace(case, body=body, outer={**case.outer, "stream": True})
    wire = streamed_answer(path)
    sealed.app.answer = lambda call: wire
    answer = driver.ask(
        sealed,
        path=path,
        headers=AS_JSON,
        content=case.content,
        protection=protection_for(sealed, suite=SUITES[suite], asks_opaque=opaque),
    )
    assert answer.error is None
    assert answer.body == wire.body
    assert len(answer.chunks) > len(wire.parts) // 2
    assert answer.headers["content-type"] == wire.headers["content-type"]
    assert outside(sealed.attempts[0]) == case.outer
    assert json.loads(sealed.app.calls[0].body)["stream"] is True
    assert not is_seen(sealed, ASKED, ANSWERED, "424242424")


@pytest.mark.parametrize("opaque", [False, True], ids=["fields", "opaque"])
@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/tokenizer_info", ""),
        ("GET", "/server_info", "config_format=json&x=%2F+y"),
        ("DELETE", "/adapters/caf%C3%A9%20x", ""),
        ("POST", "/reset_prefix_cache", "reset_running_requests=1"),
        ("PUT", "/pause", ""),
    ],
)
def test_a_request_without_body_travels_in_a_header(
    method: str,
    path: str,
    query: str,
    opaque: bool,
    driver: Driver,
    sealed: SealedServer,
) -> None:
    body = json.dumps({"said": ANSWERED}).encode()
    sealed.app.answer = lambda call: Wire(201, {"content-type": JSON}, [body])
    url = f"{path}?{query}" if query else path
    protection = protection_for(sealed, asks_opaque=opaque)
    answer = driver.ask(
        sealed, method=method, path=url, protection=protection, content=b""
    )
    assert (answer.error, answer.status, answer.body) == (None, 201, body)
    (call,) = sealed.app.calls
    assert (call.method, call.query, call.body) == (method, query, b"")
    assert call.path == path.replace("%C3%A9%20", "é ")
    assert call.values("content-length") == ["0"]
    assert call.values("content-type") == []
    assert not any(call.values(name) for name in NOT_INSIDE)
    (request,) = sealed.attempts
    assert request.body == b""
    assert request.values("x-sealed-request") == [request.sealed_text]
    assert not is_seen(sealed, ANSWERED)


@pytest.mark.parametrize("opaque", [False, True], ids=["fields", "opaque"])
@pytest.mark.parametrize("suite", SUITES)
def test_an_upload_travels_in_a_part(
    suite: str, opaque: bool, driver: Driver, sealed: SealedServer
) -> None:
    library = LIBRARIES[driver.library][0]
    path = "/v1/audio/transcriptions"
    parts = {
        "files": {
            "file": (f"{ASKED}.wav", b"RIFF\r\n\r\n--x\x00\xff" + ASKED.encode())
        },
        "data": {"model": "whisper", "prompt": ASKED, "stream": "false"},
    }
    boundary = {"content-type": f"multipart/form-data; boundary={ASKED}"}
    plain = library.Request("POST", "http://x/", headers=boundary, **parts)
    body = json.dumps({"text": ANSWERED}).encode()
    sealed.app.answer = lambda call: Wire(200, {"content-type": JSON}, [body])
    settings = {"suite": SUITES[suite], "asks_opaque": opaque}
    protection = protection_for(sealed, **settings)
    answer = driver.ask(
        sealed, path=path, headers=boundary, protection=protection, **parts
    )
    assert (answer.error, answer.body) == (None, body)
    (call,) = sealed.app.calls
    assert call.body == plain.read()
    assert call.values("content-type") == [boundary["content-type"]]
    assert call.values("content-length") == [str(len(call.body))]
    (request,) = sealed.attempts
    (content_type,) = request.values("content-type")
    media_type, _, outer_boundary = content_type.partition("; boundary=")
    assert media_type == "multipart/form-data"
    assert request.body.decode() == (
        f"--{outer_boundary}\r\n"
        'content-disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
        f"--{outer_boundary}\r\n"
        'content-disposition: form-data; name="file"; filename="sealed"\r\n'
        "content-type: application/octet-stream\r\n\r\n"
        f"{request.sealed_text}\r\n--{outer_boundary}--\r\n"
    )
    assert not is_seen(sealed, ASKED, ANSWERED)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("audio/wav", b"RIFF\x00\xff" + ASKED.encode()),
        ("text/plain; charset=utf-8", ASKED.encode()),
        ("application/octet-stream", b"{" + ASKED.encode()),
        ("application/json", f'["{ASKED}"]'.encode()),
        ("application/json", f'{{"cut":"{ASKED}'.encode()),
        ("application/json", f'{{"x":NaN,"prompt":"{ASKED}"}}'.encode()),
        ("multipart/form-data", ASKED.encode()),
        ("multipart/mixed; boundary=b", f"--c\r\n\r\n{ASKED}".encode()),
    ],
)
def test_a_body_of_another_kind_arrives_as_it_was(
    content_type: str, content: bytes, driver: Driver, sealed: SealedServer
) -> None:
    path, headers = "/detokenize", {"content-type": content_type}
    sealed.app.answer = lambda call: Wire(200, {"content-type": JSON}, [b"{}"])
    answer = driver.ask(sealed, path=path, headers=headers, content=content)
    assert answer.error is None
    assert (answer.status, answer.headers["x-output-protection"]) == (200, "opened")
    (call,) = sealed.app.calls
    assert call.body == content
    assert call.values("content-type") == [content_type]
    if not content_type.startswith("multipart/"):
        assert outside(sealed.attempts[0]) == {"sealed": TEXT}
    assert not is_seen(sealed, ASKED)


def test_a_request_body_in_pieces_arrives_as_one(
    driver: Driver, sealed: SealedServer
) -> None:
    async def pieces_async() -> Any:
        for piece in (b'{"a":', b"1}"):
            yield piece

    content: Any = pieces_async() if driver.is_async else iter([b'{"a":', b"1}"])
    answer = driver.ask(sealed, path="/tokenize", headers=AS_JSON, content=content)
    assert (answer.error, answer.status) == (None, 200)
    assert sealed.app.calls[0].body == b'{"a":1}'
    (request,) = sealed.attempts
    assert request.values("transfer-encoding") == []
    assert request.values("content-length") == [str(len(request.body))]


TYPED: dict[str, Any] = {
    "chat": chat_params.CompletionCreateParamsNonStreaming,
    "completions": CompletionCreateParamsNonStreaming,
    "responses": responses_params.ResponseCreateParamsNonStreaming,
    "messages": MessageCreateParamsNonStreaming,
    "count": MessageCountTokensParams,
    "embeddings": EmbeddingCreateParams,
}


@pytest.mark.parametrize("name", TYPED)
def test_a_typed_router_lets_the_outer_request_through(
    name: str, one: Driver, sealed: SealedServer
) -> None:
    case = next(case for case in CASES if case.name == name)
    assert ask(one, sealed, case).error is None
    body = json.loads(sealed.attempts[0].body)
    assert TypeAdapter(TYPED[name]).validate_python(body, strict=True)
    assert set(body) <= TYPED[name].__annotations__.keys() | {"model", "stream"}


Change = Callable[[Received], Received]


def json_change(**members: Any) -> Change:
    """Return the act of setting members of the outer body; None takes one away."""

    def change(request: Received) -> Received:
        body = {**json.loads(request.body), **members}
        kept = {name: body[name] for name in body if body[name] is not None}
        return dataclasses.replace(request, body=json.dumps(kept).encode())

    return change


def moved(request: Received) -> Received:
    """Put the text deeper, and others around it."""
    text = request.sealed_text
    part = {"type": "text", "text": text}
    other = {"role": "system", "content": f"Say that {text} is odd."}
    messages = [other, {"role": "user", "content": [{"type": "x"}, part]}, other]
    return json_change(messages=messages)(request)


def header_change(**headers: str) -> Change:
    """Return the act of adding headers, in place of those of the same names."""

    def change(request: Received) -> Received:
        added = {name.replace("_", "-"): headers[name] for name in headers}
        kept = [item for item in request.headers if item[0] not in added]
        return dataclasses.replace(request, headers=[*kept, *added.items()])

    return change


NO_EFFECT: dict[str, Change] = {
    "members added": json_change(
        structured_outputs={"regex": "x"},
        echo=True,
        tools=[],
        n=3,
        cache_salt="x",
        request_id="x",
        logprobs=True,
    ),
    "model taken away": json_change(model=None),
    "stream taken away": json_change(stream=None),
    "text moved": moved,
    "re-serialised": lambda request: dataclasses.replace(
        request,
        body=json.dumps(json.loads(request.body), indent=2)
        .replace("/", "\\/")
        .replace("=", "\\u003d")
        .encode(),
    ),
    "another content type": header_change(content_type="text/plain"),
    "another length": header_change(content_length="7"),
    "another accept": header_change(accept=OPAQUE_MEDIA_TYPE),
    "form": header_change(content_type="application/x-www-form-urlencoded"),
}


@pytest.mark.parametrize("act", NO_EFFECT)
def test_nothing_outside_reaches_the_application_after(
    act: str, driver: Driver, sealed: SealedServer
) -> None:
    sealed.tamper_request = NO_EFFECT[act]
    answer = ask(driver, sealed, CHAT_CASE)
    assert answer.error is None
    assert answer.body == CHAT_CASE.answer().body
    (call,) = sealed.app.calls
    owner = inside(sealed).owner
    assert call.body == with_added(CHAT_CASE, owner, call.body)
    assert call.values("content-type") == [JSON]
    assert call.values("content-length") == [str(len(call.body))]


def test_an_encoding_of_the_outer_body_says_nothing_of_the_inner_one(
    one: Driver, sealed: SealedServer
) -> None:
    sealed.tamper_request = header_change(content_encoding="br")
    assert ask(one, sealed, CHAT_CASE).error is None
    assert sealed.app.calls[0].values("content-encoding") == []


def other_target(**change: str) -> Change:
    """Return the act of sending a request elsewhere."""
    return lambda request: dataclasses.replace(request, **change)


MISMATCH: dict[str, Change] = {
    "model": json_change(model="large"),
    "model of another type": json_change(model=["m"]),
    "model in other letters": json_change(model="M"),
    "stream": json_change(stream=True),
    "path": other_target(path="/v1/completions"),
    "path of another kind": other_target(path="/tokenize"),
    "query": other_target(query="n=2"),
    "method": other_target(method="PUT"),
    "method in small letters": other_target(method="post"),
}


@pytest.mark.parametrize("opaque", [False, True], ids=["fields", "opaque"])
@pytest.mark.parametrize("act", MISMATCH)
def test_what_is_said_outside_and_not_inside_is_refused_after(
    act: str, opaque: bool, driver: Driver, sealed: SealedServer
) -> None:
    sealed.tamper_request = MISMATCH[act]
    answer = ask(driver, sealed, CHAT_CASE, asks_opaque=opaque)
    assert answer.error is None
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["code"] == "sealed_request_mismatch"
    assert answer.headers["x-output-protection"] == "opened"
    assert sealed.sent[-1].status == 400
    assert b"sealed_request_mismatch" not in sealed.sent[-1].body or not opaque
    assert b"says something" not in sealed.sent[-1].body
    assert sealed.app.calls == []
    assert len(sealed.attempts) == 1


def test_a_model_outside_of_a_request_that_names_none_is_refused(
    driver: Driver, sealed: SealedServer
) -> None:
    sealed.tamper_request = json_change(model="large")
    answer = driver.ask(sealed, asked={})
    assert (answer.status, sealed.app.calls) == (400, [])
    assert json.loads(answer.body)["error"]["code"] == "sealed_request_mismatch"


def test_a_query_taken_away_is_refused(driver: Driver, sealed: SealedServer) -> None:
    sealed.tamper_request = other_target(query="")
    answer = driver.ask(sealed, path=f"{CHAT}?x=1")
    assert (answer.status, sealed.app.calls) == (400, [])
    assert json.loads(answer.body)["error"]["code"] == "sealed_request_mismatch"


def test_an_upload_for_another_model_is_refused(
    driver: Driver, sealed: SealedServer
) -> None:
    def rename(request: Received) -> Received:
        body = request.body.replace(b"\r\n\r\nwhisper\r\n", b"\r\n\r\nlarge\r\n")
        assert body != request.body
        return dataclasses.replace(request, body=body)

    sealed.tamper_request = rename
    answer = driver.ask(
        sealed,
        path="/v1/audio/transcriptions",
        files={"file": ("a.wav", b"RIFF")},
        data={"model": "whisper"},
    )
    assert (answer.status, sealed.app.calls) == (400, [])
    assert json.loads(answer.body)["error"]["code"] == "sealed_request_mismatch"


def test_the_sdk_shows_a_mismatch_as_its_own_error() -> None:
    with serve(SealedServer()) as server:
        server.tamper_request = json_change(model="large")
        client = protected_client(identity=server.fingerprint)
        with openai.OpenAI(
            base_url=server.base_url, api_key="k", http_client=client
        ) as sdk:
            with pytest.raises(openai.APIStatusError) as caught:
                sdk.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": ASKED}]
                )
        assert caught.value.status_code == 400
        assert caught.value.code == "sealed_request_mismatch"
        assert caught.value.response.headers["x-output-protection"] == "opened"
        assert len(server.attempts) == 1
        assert not is_seen(server, ASKED)


def test_what_a_gateway_puts_in_front_of_the_path_does_not_matter(
    driver: Driver,
) -> None:
    server = SealedServer(prefix="/team/api")
    answer = driver.ask(server, path=f"/team/api{CHAT}?x=1")
    assert (answer.error, answer.body) == (None, chat_body())
    assert [it.path for it in server.received] == [
        "/team/api/.well-known/output-protection",
        f"/team/api{CHAT}",
    ]
    assert inside(server).target == f"{CHAT}?x=1"


def test_what_is_exposed_is_shown_and_nothing_else(
    driver: Driver, sealed: SealedServer
) -> None:
    shown = ["user", "session", "missing"]
    session = {"session": {"id": [1.50, None]}}
    asked = {**CHAT_CASE.body, **session, "user": "me", "stream_options": {"x": 1}}
    protection = protection_for(sealed, exposed=frozenset(shown))
    answer = driver.ask(sealed, asked=asked, protection=protection)
    assert (answer.error, answer.status) == (None, 200)
    assert outside(sealed.attempts[0]) == {**CHAT_CASE.outer, "user": "me", **session}
    assert json.loads(sealed.app.calls[0].body).items() >= asked.items()
    assert not is_seen(sealed, ASKED)


def test_a_prompt_is_not_exposed_by_its_name(
    driver: Driver, sealed: SealedServer
) -> None:
    protection = protection_for(sealed, exposed=frozenset({"messages"}))
    asked = CHAT_CASE.body
    assert driver.ask(sealed, asked=asked, protection=protection).status == 200
    assert outside(sealed.attempts[0]) == CHAT_CASE.outer
    assert not is_seen(sealed, ASKED)


def test_a_cache_salt_of_the_caller_s_stays(
    driver: Driver, sealed: SealedServer
) -> None:
    assert driver.ask(sealed, asked={"cache_salt": "mine"}).status == 200
    assert driver.ask(sealed, asked={"cache_salt": None}).status == 200
    salts = [json.loads(call.body)["cache_salt"] for call in sealed.app.calls]
    assert salts == ["mine", cache_salt(inside(sealed).owner)]


def test_the_attempts_of_a_client_share_an_owner_and_no_other_secret(
    driver: Driver, sealed: SealedServer
) -> None:
    protection = protection_for(sealed)
    for _ in range(3):
        assert driver.ask(sealed, protection=protection).status == 200
    assert driver.ask(sealed).status == 200
    requests = [inside(sealed, number) for number in range(4)]
    assert len({request.response_secret for request in requests}) == 4
    assert len({attempt.client_key for attempt in sealed.attempts}) == 4
    owners = [request.owner for request in requests]
    assert owners[0] == owners[1] == owners[2] != owners[3]


def test_the_container_is_asked_for_inside(
    driver: Driver, sealed: SealedServer
) -> None:
    headers = {"accept": "application/json"}
    protection = protection_for(sealed, asks_opaque=True)
    answer = driver.ask(sealed, headers=headers, protection=protection)
    assert (answer.error, answer.body) == (None, chat_body())
    assert inside(sealed).container == CONTAINER_OPAQUE
    assert sealed.attempts[0].values("accept") == ["application/json"]


@pytest.mark.parametrize("is_sealed", [False, True])
def test_an_api_key_travels_where_the_caller_says(
    is_sealed: bool, driver: Driver, sealed: SealedServer
) -> None:
    secret = "Bearer sk-incarnadine"
    protection = protection_for(sealed, seals_authorization=is_sealed)
    headers = {"authorization": secret, "cookie": "a=1"}
    assert driver.ask(sealed, headers=headers, protection=protection).status == 200
    (request,) = sealed.attempts
    assert request.values("authorization") == ([] if is_sealed else [secret])
    assert inside(sealed).authorization == (secret if is_sealed else "")
    assert is_seen(sealed, "incarnadine") is not is_sealed
    document = sealed.received[0]
    assert document.is_for_document
    assert {name for name, _ in document.headers} <= {
        "accept",
        "accept-encoding",
        "host",
    }


DIGESTS = (
    "content-digest",
    "digest",
    "content-md5",
    "signature",
    "x-amz-content-sha256",
)


@pytest.mark.parametrize("name", DIGESTS)
def test_a_body_with_a_digest_cannot_be_sealed(
    name: str, driver: Driver, sealed: SealedServer
) -> None:
    answer = driver.ask(sealed, headers={name.title(): "x"})
    assert type(answer.error) is errors.UsageError
    assert sealed.received == []


def test_a_clear_route_stays_clear(driver: Driver, sealed: SealedServer) -> None:
    answer = driver.ask(sealed, method="GET", path="/v1/models", content=b"")
    assert answer.status == 200
    assert answer.headers["x-output-protection"] == "clear"
    (request,) = sealed.received
    assert request.path == "/v1/models"
    assert request.values("x-sealed-request") == []


def test_of_a_clear_route_only_the_api_key_is_sealed(
    driver: Driver, sealed: SealedServer
) -> None:
    protection = protection_for(sealed, seals_authorization=True)
    asked: dict[str, Any] = {"method": "GET", "path": "/v1/models", "content": b""}
    headers = {"authorization": "Bearer sk-incarnadine"}
    answer = driver.ask(sealed, headers=headers, protection=protection, **asked)
    assert (answer.status, answer.body) == (200, MODELS)
    assert answer.headers["x-output-protection"] == "clear"
    (request,) = sealed.attempts
    assert request.values("authorization") == []
    assert inside(sealed).authorization == "Bearer sk-incarnadine"
    assert (inside(sealed).method, inside(sealed).target) == ("GET", "/v1/models")
    assert not is_seen(sealed, "incarnadine")
    # Without one there is nothing to seal.
    answer = driver.ask(sealed, protection=protection, **asked)
    assert answer.headers["x-output-protection"] == "clear"
    assert sealed.attempts[1].values("x-sealed-request") == []


def test_a_caller_s_own_headers_of_the_protocol_go_nowhere(
    driver: Driver, sealed: SealedServer
) -> None:
    headers = {"X-Client-Public-Key": "mine", "X-Sealed-Request": "mine"}
    assert driver.ask(sealed, headers=headers).body == chat_body()
    (request,) = sealed.attempts
    assert request.values("x-client-public-key") == []
    assert request.values("x-sealed-request") == []


def test_a_sealed_error_of_the_application_opens(
    driver: Driver, sealed: SealedServer
) -> None:
    body = error_body(f"What is {ANSWERED}?", 422)
    sealed.app.answer = lambda call: Wire(422, {"content-type": JSON}, [body])
    answer = driver.ask(sealed)
    assert (answer.error, answer.status, answer.body) == (None, 422, body)
    assert answer.headers["x-output-protection"] == "opened"
    assert len(sealed.attempts) == 1
    assert not is_seen(sealed, ANSWERED)
