"""What an operator reads of refused routes: none of the words that clients choose."""

from __future__ import annotations

import logging

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.asgi_driver import protect
from tests.server.asking import Recorder, ask, code_of, fresh

_, KEY = fresh()
SECRET = "my-secret-prompt"
REFUSED = (403, "route_not_protected")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.levelno >= logging.WARNING]


async def test_a_path_that_nothing_matched_is_not_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    target = protect(Recorder())
    for path in (f"/v1/chat/completions/{SECRET}", f"/{SECRET}" * 9000):
        sent = await ask(target, b"{}", path=path, header_keys=[KEY])
        assert code_of(sent) == REFUSED
    (said,) = warnings(caplog)
    assert "SG_PROTECTED_ROUTES" in said
    assert SECRET not in caplog.text


async def test_of_a_router_s_route_the_template_is_shown_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = protect(Recorder())
    say = PlainTextResponse("")
    app = Starlette(routes=[Route("/users/{name}", say), Route("/other", say)])
    for path in (f"/users/{SECRET}", "/users/b", "/other"):
        sent = await ask(target, path=path, method="GET", app=app)
        assert code_of(sent) == REFUSED
    said = warnings(caplog)
    assert [it.split(" is in no table")[0] for it in said] == [
        "The route /users/{name}",
        "The route /other",
    ]
    assert SECRET not in caplog.text


async def test_another_method_of_a_clear_route_is_said_to_be_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = protect(Recorder())
    for _ in range(2):
        sent = await ask(target, b"{}", path="/health", header_keys=[KEY])
        assert code_of(sent) == REFUSED
    (said,) = warnings(caplog)
    assert "/health is served in the clear to GET and HEAD, and refused" in said
    assert "no table" not in said
