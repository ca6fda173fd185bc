"""What a client reads of a protected application, and what the network sees."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.client import protected_client
from tests.asgi.applications import (
    ASK,
    CANARY,
    CHAT,
    KINDS,
    PIECES,
    Identity,
    Tapped,
    answer,
)
from tests.asgi.serving import TIMEOUT_S, fetched, served

PROFILES = pytest.mark.parametrize("profile", ["sealed", "output"])
OF_EACH_KIND = pytest.mark.parametrize("kind", KINDS)


@OF_EACH_KIND
@PROFILES
def test_the_openai_sdk_reads_what_the_network_does_not(
    identity: Identity, kind: str, profile: str
) -> None:
    tapped = Tapped(protect(KINDS[kind](), identity_key_file=identity.path))
    client = protected_client(
        identity=identity.fingerprint, profile=profile, timeout=TIMEOUT_S
    )
    with (
        served(tapped) as url,
        openai.OpenAI(
            base_url=f"{url}/v1", api_key="k", http_client=client, max_retries=0
        ) as sdk,
    ):
        whole = sdk.chat.completions.create(**ASK)
        stream = sdk.chat.completions.create(**ASK, stream=True)
        pieces = [chunk.choices[0].delta.content for chunk in stream]

    assert whole.choices[0].message.content == "".join(PIECES)
    assert whole.usage is not None
    assert whole.usage.total_tokens == answer()["usage"]["total_tokens"]
    assert pieces == PIECES
    assert b"sgop1." in tapped.wire
    for piece in (CANARY, *PIECES):
        assert piece.encode() not in tapped.wire


@OF_EACH_KIND
@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", CHAT, {}, 400, "client_key_missing"),
        ("POST", CHAT, {"x-client-public-key": "x"}, 400, "client_key_malformed"),
        ("GET", "/health", {}, 200, None),
    ],
)
def test_without_a_key_only_what_is_clear_is_served(
    identity: Identity,
    kind: str,
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
    code: str | None,
) -> None:
    app = protect(KINDS[kind](), identity_key_file=identity.path)
    with served(app) as url:
        told = fetched(url + path, method, json=ASK, headers=headers)

    assert told.status_code == status
    if code is not None:
        assert told.json()["error"]["code"] == code


@OF_EACH_KIND
def test_the_key_document_and_readiness_need_no_key(
    identity: Identity, kind: str
) -> None:
    app = protect(KINDS[kind](), identity_key_file=identity.path)
    with served(app) as url:
        where = f"{url}/.well-known/output-protection"
        document = fetched(where).json()
        ready = fetched(f"{where}/ready")

    assert document["identity"] == identity.fingerprint
    assert ready.status_code == 200


@OF_EACH_KIND
async def test_a_websocket_is_refused_before_the_application_sees_it(
    identity: Identity, kind: str
) -> None:
    app = protect(KINDS[kind](), identity_key_file=identity.path)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": CHAT, "headers": [], "root_path": ""}
    await app(scope, receive, send)

    assert [(it["type"], it["code"]) for it in sent] == [("websocket.close", 1008)]
