"""Requests that are meant to be read in two ways, to be used twice, or to take long."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.routing import Route

from stainedglass_output_protection.client.document_cache import DocumentCache
from stainedglass_output_protection.client.protection import Protection
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.errors import (
    ConfigurationError,
    MalformedFrameError,
)
from stainedglass_output_protection.protocol.form_parts import parts_of
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.protocol.request_carriers import target_of
from stainedglass_output_protection.protocol.routes import ROUTES, is_clear_url
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.middleware import (
    ProtectionMiddleware,
)
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.replay_store import ReplayStore
from stainedglass_output_protection.server.sealed_authorization import (
    SealedAuthorizationMiddleware,
)
from tests.asgi_driver import ASGIApp, make_ring
from tests.server.asking import Recorder, ask
from tests.server.sealing import sealed

RING = make_ring()
CREATE = "/v1/responses"
MODELS = "/v1/models"
KEY = "Bearer sk-of-the-victim"


def guarded(app: ASGIApp) -> ASGIApp:
    """Return ``app`` in both layers, with an authentication in between."""
    options = Options()
    store = ReplayStore(None)
    inner = ProtectionMiddleware(
        app, options, ring_of=lambda scope: RING, replay_store=lambda: store
    )

    async def authenticated(scope: Any, receive: Any, send: Any) -> None:
        if (b"authorization", KEY.encode()) not in scope["headers"]:
            start = {"type": "http.response.start", "status": 401, "headers": []}
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        await inner(scope, receive, send)

    return SealedAuthorizationMiddleware(
        authenticated, options, ring_of=lambda scope: RING, replay_store=lambda: store
    )


def routed(app: ASGIApp) -> Any:
    """Return an application with every route of the table."""
    return SimpleNamespace(
        routes=[Route(row.path, app, methods=None) for row in ROUTES]
    )


@pytest.mark.parametrize(
    "hidden", [b'"user":' + b"1" * 4301, b'"user":"\xff"'], ids=["digits", "bytes"]
)
async def test_what_one_parser_drops_and_another_refuses_hides_nothing(
    hidden: bytes,
) -> None:
    app = Recorder()
    body = b"{" + hidden + b',"user":"x","previous_response_id":"resp_of_somebody"}'
    made = sealed(RING, target=CREATE, body=body)
    target = ProtectionMiddleware(app, Options(), ring_of=lambda scope: RING)
    await ask(target, made.body, path=CREATE, app=routed(app))
    # The application refuses what it gets, since it is what the client wrote.
    with pytest.raises(ValueError, match=r"digits|decode"):
        json.loads(app.body)


async def test_a_sealed_key_opens_a_clear_route_once_and_no_other() -> None:
    app = Recorder()
    target = guarded(app)

    async def models(text: str, method: str = "GET") -> int:
        headers = [(b"x-sealed-request", text.encode())]
        sent = await ask(
            target,
            path=MODELS,
            method=method,
            headers=headers,
            content_type=None,
            app=routed(app),
        )
        return int(sent[0]["status"])

    chat = sealed(RING, authorization=KEY)
    assert await models(chat.text) == 400
    made = sealed(RING, method="GET", target=MODELS, authorization=KEY, body=b"")
    assert await models(made.text) == 200
    assert app.values(b"authorization") == [KEY.encode()]
    assert await models(made.text) == 425
    post = sealed(RING, method="POST", target=MODELS, authorization=KEY, body=b"")
    assert await models(post.text, "POST") == 401
    assert app.calls == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ("multipart/form-data; boundary=" + "b" * 71, b"--b\r\n"),
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n\r\n" * 130),
    ],
    ids=["boundary", "none", "parts"],
)
def test_no_upload_is_read_that_no_client_writes(wrong: tuple[str, bytes]) -> None:
    with pytest.raises(MalformedFrameError):
        parts_of(*wrong)


def test_a_part_with_a_long_header_is_left_alone() -> None:
    head = b'content-disposition: form-data; name="file"' + b";a=b" * 300
    body = b"--b\r\n" + head + b"\r\n\r\nx\r\n--b--\r\n"
    assert parts_of("multipart/form-data; boundary=b", body) == []


def test_nobody_seals_to_an_epoch_that_ended_long_ago() -> None:
    document = KeyDocument.from_text(RING.current(unix_ms()).document_text)
    # Nobody has signed this part.
    forged = dataclasses.replace(document, retires_at=2**63).to_text()
    now = unix_ms()
    cache = DocumentCache(lambda document: None, lambda: now)
    assert cache.take(forged, newer_than=-1) is not None
    assert cache.usable() is not None
    now = document.statement.not_after
    assert cache.usable() is None


def test_an_id_in_a_path_makes_it_no_other_path() -> None:
    assert target_of("/adapters/sleep", "") == "/adapters/sleep"
    assert target_of("/gateway/adapters/sleep", "") == "/adapters/sleep"
    assert target_of("/gateway/sleep", "") == "/sleep"


def test_no_answer_is_clear_because_of_where_a_server_stands() -> None:
    assert is_clear_url("GET", "/static/logo.svg")
    assert not is_clear_url("GET", "/static/v1/responses/resp_1")


@pytest.mark.parametrize(
    "choice", [{"seals_authorization": True}, {"verify_evidence": print}], ids=str
)
def test_no_choice_for_secrecy_is_dropped_in_silence(choice: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="profile='sealed'"):
        Protection(ClientSettings(**choice))
