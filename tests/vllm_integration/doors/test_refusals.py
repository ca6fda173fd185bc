"""What is refused before vLLM's app hears of it. No model is needed for that."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.vllm_integration.asking import TIMEOUT_S, new_test_id
from tests.vllm_integration.conftest import WITH_TAP, Identity, Say
from tests.vllm_integration.doors.inside import PLUGIN_PATH
from tests.vllm_integration.doors.walk import routes_of
from tests.vllm_integration.servers import MODEL, Server, start, wait_for

pytestmark = pytest.mark.vllm

_RESPONSES = "/v1/responses"
_RESPONSE: dict[str, Any] = {"model": MODEL, "input": "x"}
_KEPT: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("POST", _RESPONSES, _RESPONSE),
    ("POST", _RESPONSES, {**_RESPONSE, "store": True}),
    ("POST", _RESPONSES, {**_RESPONSE, "store": None}),
    ("POST", _RESPONSES, {**_RESPONSE, "store": "no"}),
    ("POST", _RESPONSES, {**_RESPONSE, "store": False, "background": True}),
    (
        "POST",
        _RESPONSES,
        {**_RESPONSE, "store": False, "previous_response_id": "resp_1"},
    ),
    ("GET", f"{_RESPONSES}/resp_1", None),
    ("GET", f"{_RESPONSES}/resp_1?stream=true", None),
    ("POST", f"{_RESPONSES}/resp_1/cancel", {}),
)
_HANDSHAKE = (
    "GET /v1/realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nx-test-id: {}\r\n{}\r\n"
)


@pytest.fixture(scope="module")
def no_engine(folder: Path, identity: Identity, say: Say) -> Iterator[Server]:
    server = start(
        "no engine",
        WITH_TAP,
        folder,
        variables={
            "SG_IDENTITY_KEY_FILE": str(identity.path),
            "VLLM_ENABLE_RESPONSES_API_STORE": "1",
            "TAP_NO_ENGINE": "1",
            "TAP_DOORS": "plugin,audio",
        },
        say=say,
        has_tap=True,
    )
    yield server
    server.process.kill()  # It would wait for an engine to end.
    server.end()


@pytest.fixture(scope="module")
def http(no_engine: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=no_engine.url, timeout=TIMEOUT_S) as client:
        yield client


def _ask(
    http: httpx2.Client, method: str, path: str, body: Any = None, *, has_key: bool
) -> tuple[httpx2.Response, str]:
    test_id = new_test_id("refused")
    headers = {"x-test-id": test_id, "content-type": "application/json"}
    if has_key:
        headers["x-client-public-key"] = ClientKeyPair.generate().header_value
    content = b"" if body is None else json.dumps(body).encode()
    return http.request(method, path, headers=headers, content=content), test_id


@pytest.mark.parametrize("has_key", [True, False])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_a_plugins_route_is_refused(
    http: httpx2.Client, no_engine: Server, method: str, has_key: bool
) -> None:
    assert PLUGIN_PATH in {route for _, _, route in routes_of(no_engine)}
    path = PLUGIN_PATH.replace("{name}", "x")
    response, test_id = _ask(http, method, path, has_key=has_key)

    assert response.status_code == 403
    if method != "HEAD":
        assert response.json()["error"]["code"] == "route_not_protected"
    assert b"Zarquillon" not in response.content
    assert no_engine.tapped(test_id) == []


@pytest.mark.parametrize(("method", "path", "body"), _KEPT)
def test_responses_that_are_kept_are_refused(
    http: httpx2.Client,
    no_engine: Server,
    method: str,
    path: str,
    body: dict[str, Any] | None,
) -> None:
    for has_key in (True, False):
        response, test_id = _ask(http, method, path, body, has_key=has_key)

        code = response.json()["error"]["code"]
        assert (response.status_code, code) in (
            (403, "stored_response_refused"),
            *(() if has_key else ((400, "client_key_missing"),)),
        )
        assert no_engine.tapped(test_id) == []


def test_responses_that_are_not_kept_are_answered(
    http: httpx2.Client, no_engine: Server
) -> None:
    body = {**_RESPONSE, "store": False}
    response, test_id = _ask(http, "POST", _RESPONSES, body, has_key=True)

    assert response.status_code != 403
    assert no_engine.tapped(test_id)


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations"])
def test_audio_needs_a_key(http: httpx2.Client, no_engine: Server, path: str) -> None:
    assert path in {route for _, _, route in routes_of(no_engine)}
    response, test_id = _ask(http, "POST", path, {}, has_key=False)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "client_key_missing"
    assert no_engine.tapped(test_id) == []


@pytest.mark.parametrize("has_key", [True, False])
def test_a_websocket_is_refused_before_the_handshake(
    no_engine: Server, has_key: bool
) -> None:
    kinds = {route: kind for kind, _, route in routes_of(no_engine)}
    assert kinds["/v1/realtime"] == "APIWebSocketRoute"
    test_id = new_test_id("websocket")
    key = ClientKeyPair.generate().header_value
    header = f"x-client-public-key: {key}\r\n" if has_key else ""
    with socket.create_connection(("127.0.0.1", no_engine.port), 10) as connection:
        connection.sendall(_HANDSHAKE.format(test_id, header).encode())
        status_line = connection.makefile("rb").readline()

    assert status_line.split()[1] == b"403"
    assert no_engine.tapped(test_id) == []


def test_files_that_are_written_are_reported(no_engine: Server) -> None:
    path = Path(f"{no_engine.tap_path}.written")

    assert wait_for(path.read_text, "the report of written files")
