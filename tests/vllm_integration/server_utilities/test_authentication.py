"""Rows 1 to 3: vLLM's API keys, CORS and websockets around the protection.

What vLLM refuses costs the protection nothing: no key is made or used, nothing counts.
"""

from __future__ import annotations

import base64
import ssl
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.server_utilities.conftest import (
    ORIGIN,
    READY,
    ROOT_PATH,
    TOKENS,
    Flagged,
    Samples,
    bearer,
    said,
)
from tests.vllm_integration.server_utilities.stub_engine import SECRET, answer_to
from tests.vllm_integration.servers import wait_for
from tests.vllm_integration.shapes import CHAT

pytestmark = pytest.mark.vllm

KEY_HEADER = "x-client-public-key"
SERVER_KEY = "x-server-public-key"
# They count with time, whatever is asked.
_OF_TIME = ("rotations", "live_keys", "key_")
WRONG: dict[str, dict[str, str]] = {
    "none": {},
    "another": bearer("sk-another"),
    "a part": bearer(TOKENS[0][:-1]),
    "two in one": bearer(", ".join(TOKENS)),
    "another scheme": {"authorization": f"Basic {TOKENS[0]}"},
    "no scheme": {"authorization": TOKENS[0]},
    "another header": {"x-api-key": TOKENS[0]},
}


def _by_requests(samples: Samples) -> dict[Any, float]:
    return {key: it for key, it in samples.items() if not key[0].startswith(_OF_TIME)}


def _is_counted(flagged: Flagged, before: Samples) -> bool:
    return _by_requests(flagged.counted()) != _by_requests(before)


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
def test_row_1_without_the_api_key_it_is_401_and_no_counter_moves(
    flagged: Flagged, headers: dict[str, str]
) -> None:
    keys = {KEY_HEADER: ClientKeyPair.generate().header_value}
    before = flagged.counted()
    with flagged.plain() as client:
        for path in (CHAT, "/v1/models", "/v1/made-up", "/v2/rerank"):
            answer = client.post(path, json=said("x"), headers={**headers, **keys})
            assert answer.status_code == 401, path
            assert answer.json() == {"error": "Unauthorized"}
            assert SERVER_KEY not in answer.headers
    assert _by_requests(flagged.counted()) == _by_requests(before)
    # What gets through is counted, so there was something to see.
    with flagged.plain(TOKENS[0]) as client:
        assert client.post(CHAT, json=said("x")).status_code == 400
    wait_for(lambda: _is_counted(flagged, before), "the count", 60)


@pytest.mark.parametrize("profile", ["sealed", "output"])
@pytest.mark.parametrize("token", TOKENS)
def test_row_1_with_any_of_the_api_keys_it_is_answered_sealed(
    flagged: Flagged, token: str, profile: str
) -> None:
    with flagged.protected(profile, token) as client:
        answer = client.post(CHAT, json=said("ask"))
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == answer_to("ask")
    assert answer.extensions["output_protection"].mark is Mark.OPENED


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_row_1_a_protected_client_without_the_api_key_sees_the_401(
    flagged: Flagged, profile: str
) -> None:
    with flagged.protected(profile, None) as client:
        answer = client.post(CHAT, json=said("ask"))
    assert answer.status_code == 401
    assert SECRET not in answer.text


def test_row_1_the_key_document_and_readiness_are_public(flagged: Flagged) -> None:
    with flagged.plain() as client:
        for path in ("/.well-known/output-protection", READY):
            assert client.get(path).status_code == 200


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_row_1_the_root_path_may_be_there_or_taken_off_on_the_way(
    flagged: Flagged, profile: str
) -> None:
    with flagged.protected(profile) as client:
        for base in (flagged.url, flagged.url.removesuffix(ROOT_PATH)):
            answer = client.post(f"{base}{CHAT}", json=said("below"))
            assert answer.status_code == 200
            assert answer.extensions["output_protection"].mark is Mark.OPENED


@pytest.mark.parametrize(
    "path",
    [
        f"{ROOT_PATH}v1/chat/completions",
        f"{ROOT_PATH}{ROOT_PATH}{CHAT}",
        f"/{ROOT_PATH}{CHAT}",
        f"{ROOT_PATH}/{CHAT}",
        f"/y{CHAT}",
        f"{ROOT_PATH}/./v1/chat/completions",
        f"{ROOT_PATH}/%76%31/chat/completions",
    ],
)
def test_row_1_no_spelling_of_the_path_goes_past_the_api_key(
    flagged: Flagged, path: str
) -> None:
    headers = {KEY_HEADER: ClientKeyPair.generate().header_value}
    with flagged.plain() as client:
        url = httpx2.URL(flagged.url).copy_with(raw_path=path.encode())
        answer = client.post(url, json=said("past"), headers=headers)
    assert answer.status_code in (401, 404)
    assert SERVER_KEY not in answer.headers


def test_row_1_a_preflight_needs_no_key_and_allows_the_client_key(
    flagged: Flagged,
) -> None:
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": f"{KEY_HEADER}, content-type",
    }
    before = flagged.counted()
    with flagged.plain() as client:
        answer = client.options(CHAT, headers=asked)
        refused = client.options(CHAT, headers={**asked, "origin": "https://other"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert KEY_HEADER in answer.headers["access-control-allow-headers"].lower()
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    assert _by_requests(flagged.counted()) == _by_requests(before)


def test_row_1_a_browser_may_read_the_server_key_of_an_answer(flagged: Flagged) -> None:
    headers = {KEY_HEADER: ClientKeyPair.generate().header_value, "origin": ORIGIN}
    with flagged.plain(TOKENS[0]) as client:
        answer = client.post(CHAT, json=said("browser"), headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert SERVER_KEY in answer.headers["access-control-expose-headers"]
    assert SECRET not in answer.text


def test_row_1_an_options_request_that_is_no_preflight_answers_nothing(
    flagged: Flagged,
) -> None:
    """vLLM asks no API key of it; so it must not get an answer by it."""
    headers = {KEY_HEADER: ClientKeyPair.generate().header_value}
    with flagged.plain() as client:
        for given in ({}, headers):
            answer = client.request("OPTIONS", CHAT, json=said("x"), headers=given)
            assert answer.status_code in (400, 405)
            assert SECRET not in answer.text


def test_row_1_without_a_client_certificate_there_is_no_connection(
    flagged: Flagged,
) -> None:
    """``--ssl-cert-reqs 2``: uvicorn's TLS is vLLM's, and stays in front of all."""
    bare = ssl.create_default_context()
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    with (
        httpx2.Client(base_url=flagged.url, verify=bare) as client,
        pytest.raises(httpx2.TransportError),
    ):
        client.get("/health")


def test_row_2_no_log_line_has_a_secret_of_the_server_or_of_a_caller(
    flagged: Flagged, identity: Identity
) -> None:
    pem = identity.path.read_bytes()
    key: Any = load_pem_private_key(pem, None)
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    with flagged.protected() as client:
        assert client.post(CHAT, json=said("secrets")).status_code == 200
    log = flagged.server.log + flagged.access_log.read_text()
    assert "Output protection is on." in log
    encoded = base64.b64encode(raw).decode().rstrip("=")
    forms = (raw.hex(), raw.hex().upper(), encoded, repr(raw)[2:-1])
    pem_line = pem.decode().splitlines()[1]
    for secret in (*TOKENS, *forms, pem_line):
        assert secret not in log


@pytest.mark.parametrize("path", ["/v1/realtime", CHAT, "/", READY])
@pytest.mark.parametrize("token", [None, TOKENS[1]])
def test_row_3_a_websocket_is_refused_and_nothing_fails(
    flagged: Flagged, path: str, token: str | None
) -> None:
    # It comes with vLLM.
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    before = flagged.server.log.count("Traceback")
    url = flagged.url.replace("https", "wss") + path
    headers = {KEY_HEADER: ClientKeyPair.generate().header_value, **bearer(token)}
    with pytest.raises(InvalidStatus) as refused:
        connect(url, ssl=flagged.tls, additional_headers=headers, open_timeout=60)
    is_guarded = path.startswith("/v1")
    expected = 401 if token is None and is_guarded else 403
    assert refused.value.response.status_code == expected
    assert flagged.server.log.count("Traceback") == before
    with flagged.plain() as client:
        assert client.get(READY).status_code == 200
