"""What is not served: other routes, and requests without a usable client key."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.protocol.routes import TABLE, RouteClass
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.asking import TIMEOUT_S, new_test_id
from tests.vllm_integration.servers import MODEL, Server
from tests.vllm_integration.shapes import CHAT, COMPLETIONS

pytestmark = pytest.mark.vllm

HEADER = "x-client-public-key"
# protocol.md#routes, read by hand.
PROTECTED = {
    ("POST", CHAT),
    ("POST", COMPLETIONS),
    ("POST", "/v1/responses"),
    ("POST", "/tokenize"),
}
CLEAR = {
    ("GET", "/v1/models"),
    ("GET", "/health"),
    ("GET", "/version"),
    ("GET", "/metrics"),
    ("GET", "/load"),
    ("GET", "/ping"),
    ("POST", "/ping"),
}
# Mounted by vLLM and left out of its own description.
UNLISTED = {("POST", "/invocations")}
_SCHEMA_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module")
def http(main_server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=main_server.url, timeout=TIMEOUT_S) as client:
        yield client


def _listed(http: httpx2.Client) -> set[tuple[str, str]]:
    paths = http.get("/openapi.json").json()["paths"]
    return {
        (method.upper(), path)
        for path, item in paths.items()
        for method in item
        if method in _SCHEMA_METHODS
    }


def _assert_refused(response: httpx2.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-should-retry"] == "false"
    error = response.json().pop("error")
    assert sorted(error) == ["code", "message", "param", "type"]
    assert error["code"] == code
    assert error["param"] is None
    assert error["type"] == "invalid_request_error"


def test_every_other_mounted_route_needs_a_key(
    http: httpx2.Client, main_server: Server
) -> None:
    routes = {
        (method, path)
        for method, path in _listed(http) - CLEAR | UNLISTED
        if TABLE.row(path).route_class is not RouteClass.CLEAR
    }
    assert routes >= PROTECTED
    assert len(routes) > 10, routes

    for method, path in sorted(routes):
        test_id = new_test_id("route")
        filled = path.replace("{", "").replace("}", "")
        response = http.request(
            method,
            filled,
            headers={"x-test-id": test_id},
            content=b"" if method == "GET" else b'{"model": "tiny"}',
        )
        _assert_refused(response, 400, "client_key_missing")
        assert main_server.tapped(test_id) == [], path


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/health",
        "/version",
        "/metrics",
        "/metrics/",
        "/load",
        "/ping",
        "/docs",
        "/docs/oauth2-redirect",
        "/redoc",
        "/openapi.json",
    ],
)
def test_clear_routes_answer_without_a_key(http: httpx2.Client, path: str) -> None:
    response = http.get(path, follow_redirects=True)

    assert response.status_code == 200
    assert "sgop1." not in response.text


def test_ping_is_clear_by_post_too(http: httpx2.Client) -> None:
    assert http.post("/ping").status_code == 200


def test_what_vllm_does_not_mount_is_its_own_answer(http: httpx2.Client) -> None:
    assert http.get("/no-such-route").status_code == 404
    assert http.post("/health").status_code == 405
    # Of a protected path nothing is said without a key.
    assert http.get(CHAT).status_code == 400


@pytest.mark.parametrize(
    "path",
    [f"/{CHAT}", f"{CHAT}/", "/v1//chat/completions", "/V1/chat/completions"],
)
def test_other_spellings_of_a_protected_path_answer_nothing(
    http: httpx2.Client, path: str
) -> None:
    response = http.post(path, json=BY_NAME["canary"].request(MODEL)[1])

    assert response.status_code in (307, 400, 403, 404)
    assert "choices" not in response.text


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


_GOOD = ClientKeyPair.generate().header_value
_LOW_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2**255 - 20,
)
BAD_KEYS = {
    "missing": ([], "client_key_missing"),
    "empty": ([""], "client_key_malformed"),
    "hexadecimal": ([bytes(range(32)).hex()], "client_key_malformed"),
    "unpadded": ([_GOOD.rstrip("=")], "client_key_malformed"),
    "url-safe": ([_encoded(b"\xff" * 32).replace("/", "_")], "client_key_malformed"),
    "31-bytes": ([_encoded(b"\x09" * 31)], "client_key_malformed"),
    "33-bytes": ([_encoded(b"\x09" * 33)], "client_key_malformed"),
    # The last character before the padding holds two bits that have to be zero.
    "not-canonical": ([_encoded(b"\x09" * 32)[:-2] + "l="], "client_key_malformed"),
    "twice": ([_GOOD, _GOOD], "client_key_duplicated"),
    "two": ([_GOOD, ClientKeyPair.generate().header_value], "client_key_duplicated"),
    "good-and-empty": ([_GOOD, ""], "client_key_duplicated"),
    "joined": ([f"{_GOOD}, {_GOOD}"], "client_key_malformed"),
    **{
        f"low-order-{number}": (
            [_encoded(value.to_bytes(32, "little"))],
            "client_key_malformed",
        )
        for number, value in enumerate(_LOW_ORDER)
    },
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", BAD_KEYS)
def test_bad_client_key_is_400_and_reaches_nothing(
    http: httpx2.Client, main_server: Server, name: str, streamed: bool
) -> None:
    values, code = BAD_KEYS[name]
    test_id = new_test_id("bad-key")

    for dialogue in ("canary", "completion"):
        path, body = BY_NAME[dialogue].request(MODEL, stream=streamed)
        headers: list[Any] = [(HEADER, value) for value in values]
        response = http.post(
            path, content=json.dumps(body), headers=[("x-test-id", test_id), *headers]
        )

        _assert_refused(response, 400, code)
        for value in filter(None, values):
            assert value not in response.text
    assert main_server.tapped(test_id) == []


def test_key_is_checked_before_the_body_is_read(http: httpx2.Client) -> None:
    response = http.post(CHAT, content=b"{not json")

    _assert_refused(response, 400, "client_key_missing")
