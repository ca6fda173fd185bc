"""A server of EasyDeL's make: what its users expect goes on, and nothing leaks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from starlette.requests import Request

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.errors import (
    KeysUnavailableError,
    OutputProtectionError,
)
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.server.key_ring import KeyRing
from tests.apps.proxy.running import unused_port
from tests.asgi.applications import ASK, CANARY, CHAT, PIECES, Identity, answer, started
from tests.asgi.inference_server import PROTECTED, StandIn
from tests.asgi.serving import TIMEOUT_S, fetched, served

# The Python of an environment with EasyDeL and this package's [server] in it.
PYTHON = os.environ.get("SG_TEST_EASYDEL_PYTHON", "")
ROOT = Path(__file__).parents[2]
_START_LIMIT_S = 300
RESPONSES: Any = {"model": "m", "input": "What is played?", "store": False}
READY = "/.well-known/output-protection/ready"


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """The identity of all servers here."""
    key = IdentityKey.generate()
    path = tmp_path_factory.mktemp("identity") / "identity.pem"
    path.write_bytes(key.to_pem())
    path.chmod(0o600)
    return Identity(path, key.fingerprint)


@pytest.fixture(scope="module", params=["stand-in", "easydel"])
def url(request: pytest.FixtureRequest, owned: Identity) -> Iterator[str]:
    """Where it is served, its keys renewed three times a second."""
    if request.param == "easydel":
        if not PYTHON:
            pytest.skip("SG_TEST_EASYDEL_PYTHON names no Python with EasyDeL")
        yield from real(owned)
        return
    app = protect(
        StandIn().app,
        identity_key_file=owned.path,
        protected_routes=PROTECTED,
        key_refresh_time_s=0.3,
    )
    with served(app) as where:
        yield where


def real(identity: Identity) -> Iterator[str]:
    """Serve EasyDeL's own base class by its own ``run``."""
    port = unused_port()
    process = subprocess.Popen(
        [PYTHON, "-m", "tests.asgi.inference_server", str(port)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "SG_IDENTITY_KEY_FILE": str(identity.path),
        },
        cwd=ROOT,
        stdout=sys.stderr,
    )
    end = time.monotonic() + _START_LIMIT_S
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, "it ended"
                assert time.monotonic() < end, "it did not start"
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=["sealed", "output"])
def client(request: pytest.FixtureRequest, owned: Identity) -> Iterator[Any]:
    made = protected_client(
        identity=owned.fingerprint, profile=request.param, timeout=TIMEOUT_S
    )
    with made:
        yield made


@pytest.fixture
def sdk(url: str, client: Any) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{url}/v1", api_key="k", http_client=client, max_retries=0
    )


def raw(url: str, path: str, body: Any = ASK) -> httpx2.Response:
    """Ask with a key, and return what the network sees."""
    key = ClientKeyPair.generate().header_value
    return fetched(
        url + path, json=body, headers={"x-client-public-key": key}, method="POST"
    )


def count_of(url: str, name: str) -> int:
    """Return one of the engine's own counts."""
    count: int = fetched(f"{url}/metrics").json()[name]
    return count


def test_answers_usage_and_finish_reason(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(**ASK)
    text = sdk.completions.create(model="m", prompt="What is played?")
    stream = sdk.chat.completions.create(**ASK, stream=True)

    assert whole.model_dump(exclude_unset=True) == answer()
    assert (text.choices[0].text, text.choices[0].finish_reason) == (CANARY, "length")
    assert [it.choices[0].delta.content for it in stream] == PIECES


def test_responses_whole_and_as_named_events(sdk: openai.OpenAI) -> None:
    whole = sdk.responses.create(**RESPONSES)
    events = list(sdk.responses.create(**RESPONSES, stream=True))

    assert whole.output_text == "".join(PIECES)
    deltas = [it.delta for it in events if it.type == "response.output_text.delta"]
    assert deltas == PIECES
    assert events[-1].type == "response.completed"


def test_responses_that_it_would_keep_are_refused_in_the_clear(url: str) -> None:
    told = raw(url, "/v1/responses", {"model": "m", "input": "What is played?"})

    assert told.status_code == 403
    assert CANARY not in told.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, ASK),
        (CHAT, {**ASK, "stream": True}),
        (CHAT, {**ASK, "stream": True, "user": "failing"}),
        ("/v1/completions", ASK),
        ("/v1/responses", RESPONSES),
        ("/v1/responses", {**RESPONSES, "stream": True}),
        ("/v1/tools/execute", ASK),
    ],
)
def test_the_network_sees_no_word(url: str, path: str, body: Any) -> None:
    told = raw(url, path, body)

    assert told.status_code == 200
    assert "sgop1." in told.text
    assert not [it for it in (CANARY, *PIECES) if it in told.text]


def test_an_error_inside_a_stream_keeps_its_shape(sdk: openai.OpenAI) -> None:
    stream = sdk.chat.completions.create(**ASK, stream=True, user="failing")
    with pytest.raises(openai.APIError, match=f"no more {CANARY}"):
        list(stream)


def test_a_stream_outlives_the_keys_that_it_began_with(
    url: str, client: Any, sdk: openai.OpenAI
) -> None:
    def key_id() -> Any:
        where = f"{url}/.well-known/output-protection"
        return fetched(where).json()["key_id"]

    stream = iter(sdk.chat.completions.create(**ASK, stream=True, user="endless"))
    seen = {key_id()}
    while len(seen) < 4:
        assert next(stream).choices[0].delta.content in PIECES
        seen.add(key_id())


def test_who_leaves_stops_the_engine(url: str, sdk: openai.OpenAI) -> None:
    before = count_of(url, "aborted")
    with sdk.chat.completions.create(**ASK, stream=True, user="endless") as stream:
        assert next(iter(stream))
    while count_of(url, "aborted") == before:
        time.sleep(0.05)


@pytest.mark.parametrize("path", ["/health", "/metrics", "/v1/models", "/openapi.json"])
def test_probes_need_no_key(url: str, path: str) -> None:
    told = fetched(url + path)

    assert told.status_code == 200
    assert told.headers["x-request-id"].startswith("req_")


def test_counts_are_those_without_protection(url: str, sdk: openai.OpenAI) -> None:
    before = count_of(url, "total_tokens_generated")
    sdk.chat.completions.create(**ASK)
    list(sdk.chat.completions.create(**ASK, stream=True))

    after = count_of(url, "total_tokens_generated")
    assert after - before == 2 * len(PIECES)
    assert fetched(f"{url}/health").json()["status"].lower().endswith("ready")


def test_tools_and_a_model_are_sealed(url: str, client: Any) -> None:
    assert client.get(f"{url}/v1/tools").json() is not None
    assert client.get(f"{url}/v1/models/m").json() is not None
    assert client.post(f"{url}/v1/tools/execute", json={}).json()["result"] == CANARY


def test_pages_of_other_origins_are_shown_our_header(url: str) -> None:
    key = ClientKeyPair.generate().header_value
    headers = {"x-client-public-key": key, "origin": "https://chat.example.com"}
    told = fetched(url + CHAT, json=ASK, headers=headers, method="POST")

    assert "x-server-public-key" in told.headers["access-control-expose-headers"]
    assert told.headers["access-control-allow-origin"]


def test_the_description_of_the_api_shows_the_key(url: str) -> None:
    described = fetched(f"{url}/openapi.json").json()

    assert "client_key_missing" in str(described["paths"][CHAT])
    assert "x-client-public-key" in str(described["components"]["securitySchemes"])


@pytest.mark.parametrize("path", ["/v1/tools/execute", "/v1/vendor"])
def test_a_route_that_nobody_has_classified_leaks_nothing(
    identity: Identity, path: str
) -> None:
    server = StandIn()
    server.app.add_api_route("/v1/vendor", server.execute_tool, methods=["POST"])
    with served(protect(server.app, identity_key_file=identity.path)) as where:
        told = raw(where, path)

    assert told.status_code == 403
    assert CANARY not in told.text


def test_readiness_is_ours_and_health_its_own(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(ring: KeyRing, now_ms: int) -> Any:
        raise KeysUnavailableError("No epoch of this server has begun.")

    with served(protect(StandIn().app, identity_key_file=identity.path)) as where:
        before = fetched(where + READY)
        monkeypatch.setattr(KeyRing, "current", none)
        after = fetched(where + READY)
        health = fetched(f"{where}/health")

    assert (before.status_code, after.status_code) == (200, 503)
    assert after.json()["reason"] == "No epoch of this server has begun."
    assert (health.status_code, health.json()["status"]) == (200, "ready")


class Rebuilding:
    """Asks ``app`` with the fields that it knows, as ``oai_proxies`` does."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        asked = await Request(scope, receive).json()
        known = {it: asked[it] for it in ("model", "messages", "stream") if it in asked}
        body = json.dumps(known).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]

        async def rebuilt() -> Any:
            return {"type": "http.request", "body": body}

        await self._app({**scope, "headers": headers}, rebuilt, send)


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_what_rebuilds_requests_loses_a_key_that_is_not_in_a_message(
    owned: Identity, profile: str
) -> None:
    app = protect(StandIn().app, identity_key_file=owned.path, keyless_requests="allow")
    asking = protected_client(
        identity=owned.fingerprint, profile=profile, timeout=TIMEOUT_S
    )
    with (
        served(Rebuilding(app)) as where,
        openai.OpenAI(
            base_url=f"{where}/v1", api_key="k", http_client=asking, max_retries=0
        ) as sdk,
    ):
        # It would have been answered, in the clear.
        assert CANARY in fetched(where + CHAT, "POST", json=ASK).text
        if profile == "sealed":
            told = sdk.chat.completions.create(**ASK)
            assert told.choices[0].message.content == "".join(PIECES)
            return
        with pytest.raises((openai.APIError, OutputProtectionError)) as refused:
            sdk.chat.completions.create(**ASK)

    assert CANARY not in str(refused.value)


async def test_its_own_start_and_stop_are_kept(identity: Identity) -> None:
    server = StandIn()
    async with started(protect(server.app, identity_key_file=identity.path)):
        assert server.status == "ready"
    assert server.status == "shutting_down"
