"""What an application has around its routes sees ciphertext, or nothing is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.asgi.applications import (
    ASK,
    CANARY,
    PIECES,
    Identity,
    Tapped,
    fastapi_app,
    starlette_app,
    started,
)
from tests.asgi.serving import TIMEOUT_S, served
from tests.asgi_driver import body_of, call

OF_EACH_KIND = pytest.mark.parametrize("make", [starlette_app, fastapi_app])


class Listening(BaseHTTPMiddleware):
    """Keeps every body, as loggers do."""

    bodies: list[bytes] = []  # noqa: RUF012

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        inner = response.body_iterator

        async def heard() -> Any:
            async for piece in inner:
                self.bodies.append(piece)
                yield piece

        response.body_iterator = heard()
        return response


@OF_EACH_KIND
@pytest.mark.parametrize("is_before", [True, False])
def test_its_own_middleware_sees_no_plaintext(
    identity: Identity, make: Callable[..., Any], is_before: bool
) -> None:
    Listening.bodies = []
    app = make()
    if not is_before:
        protect(app, identity_key_file=identity.path)
    app.add_middleware(Listening)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    if is_before:
        protect(app, identity_key_file=identity.path)
    client = protected_client(identity=identity.fingerprint, timeout=TIMEOUT_S)
    with (
        served(app) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="k", http_client=client) as sdk,
    ):
        stream = sdk.chat.completions.create(**ASK, stream=True)
        assert [it.choices[0].delta.content for it in stream] == PIECES

    heard = b"".join(Listening.bodies)
    assert b"sgop1." in heard
    assert not [it for it in (CANARY, *PIECES) if it.encode() in heard]


@OF_EACH_KIND
async def test_what_is_added_inside_keeps_the_server_from_starting(
    identity: Identity, make: Callable[..., Any]
) -> None:
    app = protect(make(), identity_key_file=identity.path)
    app.user_middleware.append(Middleware(GZipMiddleware))
    with pytest.raises(Exception, match="innermost"):
        await call(app, key_pair=ClientKeyPair.generate())


@OF_EACH_KIND
async def test_what_takes_it_away_keeps_the_server_from_starting(
    identity: Identity, make: Callable[..., Any]
) -> None:
    app = protect(make(), identity_key_file=identity.path)
    app.user_middleware.clear()
    with pytest.raises(RuntimeError, match="innermost"):
        async with started(app):
            pass


@OF_EACH_KIND
async def test_a_stack_that_was_built_early_is_built_anew(
    identity: Identity, make: Callable[..., Any]
) -> None:
    app = make()
    app.middleware_stack = app.build_middleware_stack()
    tapped = Tapped(protect(app, identity_key_file=identity.path))
    async with started(tapped):
        sent = await call(tapped, key_pair=ClientKeyPair.generate())

    assert b"sgop1." in body_of(sent)
    assert CANARY.encode() not in tapped.wire


def replaces_the_stack(app: Any) -> None:
    app.middleware_stack = app.router


def builds_its_own_stack(app: Any) -> None:
    app.build_middleware_stack = lambda: app.router


def clears_the_list(app: Any) -> None:
    app.user_middleware.clear()


class Between:
    """What reads along between the protection and the routes."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def wraps_what_the_router_calls(app: Any) -> None:
    app.router.middleware_stack = Between(app.router.middleware_stack)


def builds_around_a_wrapped_router(app: Any) -> None:
    build = app.build_middleware_stack

    def built() -> Any:
        router = app.router
        app.router = Between(router)
        try:
            return build()
        finally:
            app.router = router

    app.build_middleware_stack = built


@OF_EACH_KIND
@pytest.mark.parametrize(
    "change",
    [
        replaces_the_stack,
        builds_its_own_stack,
        clears_the_list,
        wraps_what_the_router_calls,
        builds_around_a_wrapped_router,
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_a_stack_without_the_protection_serves_nobody(
    identity: Identity,
    make: Callable[..., Any],
    change: Callable[[Any], None],
    is_late: bool,
) -> None:
    app = protect(make(), identity_key_file=identity.path)
    if is_late:
        async with started(app):
            assert b"sgop1." in body_of(
                await call(app, key_pair=ClientKeyPair.generate())
            )
        app.middleware_stack = None
    change(app)
    tapped = Tapped(app)

    # By a server that runs no lifespan, then by one that does.
    with pytest.raises(ConfigurationError, match="innermost"):
        await call(tapped, key_pair=ClientKeyPair.generate())
    assert CANARY.encode() not in tapped.wire
    with pytest.raises(RuntimeError, match="innermost"):
        async with started(app):
            pass


@OF_EACH_KIND
async def test_what_is_outside_still_learns_which_route_was_found(
    identity: Identity, make: Callable[..., Any]
) -> None:
    scope: dict[str, Any] = {}
    app = make()

    class Outside:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, given: Any, receive: Any, send: Any) -> None:
            await self.app(given, receive, send)
            scope.update(given)

    app.add_middleware(Outside)
    protect(app, identity_key_file=identity.path)
    await call(app, method="GET", path="/health")

    assert "endpoint" in scope


@OF_EACH_KIND
def test_it_is_protected_once_even_if_its_middleware_is_taken_away(
    identity: Identity, make: Callable[..., Any]
) -> None:
    app = protect(make(), identity_key_file=identity.path)
    app.user_middleware.clear()
    with pytest.raises(ConfigurationError, match="already"):
        protect(app, identity_key_file=identity.path)
