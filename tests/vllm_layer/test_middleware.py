"""The middleware in a running app, by ASGI and by ``dispatch``."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.identity import fingerprint_of
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.vllm.middleware import (
    UserPublicKeyMiddleware,
    inject_middleware,
)
from stainedglass_output_protection.vllm.protection import (
    is_protected,
    protect_app,
    protecting,
)
from stainedglass_output_protection.vllm.registry import get_shared_registry
from stainedglass_output_protection.vllm.server_keys import ring_of
from tests.vllm_layer.app import (
    ANSWER,
    CHAT,
    EVENTS,
    build_app,
    opened,
    post,
    scope_of,
    started,
)

KEY_HEADER = "x-client-public-key"


class Outer:
    """A middleware of vLLM's: it writes down what passes."""

    seen = b""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def tapped(message: Any) -> None:
            Outer.seen += message.get("body", b"")
            await send(message)

        await self.app(scope, receive, tapped)


def protected_app() -> FastAPI:
    return protecting(build_app)(Namespace(api_server_count=None))


@pytest.fixture
def key_pair() -> ClientKeyPair:
    return ClientKeyPair.generate()


@pytest.mark.parametrize("stream", [False, True])
async def test_answer_is_sealed_inside_every_other_middleware(
    key_pair: ClientKeyPair, stream: bool
) -> None:
    def build(*args: Any) -> FastAPI:
        app = build_app(*args)
        app.middleware_stack = None
        app.add_middleware(Outer)
        app.middleware_stack = app.build_middleware_stack()
        return app

    app = protecting(build)(Namespace())
    Outer.seen = b""
    async with started(app):
        status, headers, body = await post(
            app, {"stream": stream}, {KEY_HEADER: key_pair.header_value}
        )
        key = ring_of({"app": app}).current(time.time_ns() // 10**6)
        assert headers["x-server-public-key"] == key.public_key_base64
    assert status == 200
    assert b"xylo" not in body
    assert Outer.seen == body
    expected = b"".join(EVENTS) if stream else JSONResponse(ANSWER).body
    assert opened(body, key_pair) == expected
    assert list(get_shared_registry().values())[-1] is None


@pytest.mark.parametrize("is_made", [False, True], ids=["from a file", "made"])
async def test_one_line_says_that_it_is_on_and_what_clients_pin(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    identity_file: Path,
    *,
    is_made: bool,
) -> None:
    if not is_made:
        monkeypatch.setenv("SG_IDENTITY_KEY_FILE", str(identity_file))
    app = protected_app()
    with caplog.at_level("INFO"):
        async with started(app):
            key = ring_of({"app": app}).current(time.time_ns() // 10**6)
    pin = f"SG_SERVER_IDENTITY={fingerprint_of(key.statement.identity)}"
    (line,) = [one for one in caplog.messages if "Output protection is on." in one]
    assert line.endswith(pin)


async def test_header_names_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, key_pair: ClientKeyPair
) -> None:
    monkeypatch.setenv("SG_CLIENT_PUBLIC_KEY_HEADER_NAME", "X-Mine")
    monkeypatch.setenv("SG_SERVER_PUBLIC_KEY_HEADER_NAME", "X-Yours")
    app = protected_app()
    async with started(app):
        status, headers, _ = await post(app, {}, {"x-mine": key_pair.header_value})
        assert status == 200
        assert "x-yours" in headers
        status, _, _ = await post(app, {}, {KEY_HEADER: key_pair.header_value})
        assert status == 400


async def test_bad_settings_keep_the_app_from_being_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SG_KEY_REFRESH_TIME_S", "0")
    with pytest.raises(ConfigurationError, match="SG_KEY_REFRESH_TIME_S"):
        protected_app()
    with pytest.raises(ConfigurationError, match="SG_KEY_REFRESH_TIME_S"):
        UserPublicKeyMiddleware(FastAPI())


async def test_app_without_its_lifespan_answers_503(key_pair: ClientKeyPair) -> None:
    app = inject_middleware(build_app)(Namespace())
    status, _, body = await post(app, {}, {KEY_HEADER: key_pair.header_value})
    assert status == 503
    assert json.loads(body)["error"]["code"] == "keys_unavailable"


def test_injected_or_protected_twice_there_is_one_middleware() -> None:
    app = inject_middleware(inject_middleware(build_app))(Namespace())
    for _ in range(2):
        protect_app(app)
    ours = [item for item in app.user_middleware if item.cls is UserPublicKeyMiddleware]
    assert len(ours) == 1
    assert is_protected(app)


def test_app_changed_afterwards_is_not_protected() -> None:
    app = protected_app()
    app.user_middleware.append(Middleware(Outer))
    assert not is_protected(app)
    assert not is_protected(build_app(Namespace()))
    protect_app(app)
    assert is_protected(app)


async def test_server_does_not_start_with_something_further_in() -> None:
    app = protected_app()
    app.user_middleware.append(Middleware(Outer))
    with pytest.raises(RuntimeError, match="not the innermost"):
        async with started(app):
            pass


async def test_server_does_not_start_if_the_stack_is_an_older_one() -> None:
    app = build_app(Namespace())
    stack = app.middleware_stack
    protect_app(app)
    app.middleware_stack = stack
    with pytest.raises(RuntimeError, match="not the innermost"):
        async with started(app):
            pass


def test_several_api_servers_need_a_shared_identity_and_shared_epochs(
    monkeypatch: pytest.MonkeyPatch, identity_file: Any, fleet_file: Any
) -> None:
    arguments = Namespace(api_server_count=2)
    with pytest.raises(ConfigurationError, match="SG_IDENTITY_KEY_FILE"):
        protecting(build_app)(arguments)
    monkeypatch.setenv("SG_IDENTITY_KEY_FILE", str(identity_file))
    with pytest.raises(
        ConfigurationError, match=r"SG_FLEET_SECRET_FILE.*keys generate"
    ):
        protecting(build_app)(arguments)
    assert is_protected(protecting(build_app)(Namespace(api_server_count=1)))
    monkeypatch.setenv("SG_FLEET_SECRET_FILE", str(fleet_file))
    assert is_protected(protecting(build_app)(arguments))


def test_a_provider_of_evidence_that_is_not_there_keeps_the_server_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SG_EVIDENCE_PROVIDER", "no_such_package.quotes:quote")
    with pytest.raises(ConfigurationError, match=r"SG_EVIDENCE_PROVIDER.*PYTHONPATH"):
        protecting(build_app)(Namespace())


async def test_custom_dispatch_runs_inside_the_protection(
    key_pair: ClientKeyPair,
) -> None:
    async def shout(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        body = b"".join([piece async for piece in response.body_iterator])
        return Response(body.upper(), media_type="application/json")

    app = protected_app()
    app.user_middleware[-1] = Middleware(UserPublicKeyMiddleware, dispatch=shout)
    async with started(app):
        _, _, body = await post(app, {}, {KEY_HEADER: key_pair.header_value})
    assert b"XYLOPHONE" not in body
    assert opened(body, key_pair) == JSONResponse(ANSWER).body.upper()


@pytest.mark.parametrize("stream", [False, True])
async def test_dispatch_returns_a_response_that_the_client_opens(
    key_pair: ClientKeyPair, stream: bool
) -> None:
    async def call_next(request: Request) -> Response:
        if not stream:
            return JSONResponse(ANSWER)

        async def events() -> Any:
            for event in EVENTS:
                yield event

        return StreamingResponse(events(), media_type="text/event-stream")

    app = protected_app()
    async with started(app):
        middleware = UserPublicKeyMiddleware(app)
        scope = {**scope_of(CHAT, {KEY_HEADER: key_pair.header_value}), "app": app}
        response: Any = await middleware.dispatch(Request(scope), call_next)
    assert "x-server-public-key" in response.headers
    body = response.body if not stream else b""
    if stream:
        body = b"".join([piece async for piece in response.body_iterator])
    expected = b"".join(EVENTS) if stream else JSONResponse(ANSWER).body
    assert opened(body, key_pair) == expected
    assert list(get_shared_registry().values())[-1] is None


async def test_dispatch_raises_what_is_documented(key_pair: ClientKeyPair) -> None:
    async def call_next(request: Request) -> Response:
        raise AssertionError("reached the engine")

    app = build_app(Namespace())
    middleware = UserPublicKeyMiddleware(app)
    for headers in ({}, {KEY_HEADER: ""}, {KEY_HEADER: "AAAA"}):
        request = Request({**scope_of(CHAT, headers), "app": app})
        with pytest.raises(ValueError, match="client public key"):
            await middleware.dispatch(request, call_next)
    good = {KEY_HEADER: key_pair.header_value}
    with pytest.raises(TypeError, match="epoch key"):
        await middleware.dispatch(
            Request({**scope_of(CHAT, good), "app": app}), call_next
        )
    with pytest.raises(ValueError, match="not protected"):
        await middleware.dispatch(
            Request({**scope_of("/tokenize", good), "app": app}), call_next
        )
