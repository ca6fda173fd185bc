"""What the router serves is what was looked up: real applications, odd paths."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router
from starlette.staticfiles import StaticFiles

from stainedglass_output_protection.protocol.routes import RouteTable
from stainedglass_output_protection.server.middleware import (
    ProtectionMiddleware,
)
from stainedglass_output_protection.server.options import Options
from tests.asgi_driver import CHAT, Message, Opened, body_of, header_of, make_ring
from tests.server.asking import CANARY, ask, code_of, fresh

PAIR, KEY = fresh()
RING = make_ring()
SAID = {"said": CANARY}


def say(request: Request) -> Response:
    """Answer with the canary."""
    return JSONResponse(SAID)


def fine(request: Request) -> Response:
    """Answer without it, as a clear route does."""
    return PlainTextResponse("fine")


def behind(app: Any, **options: Any) -> Any:
    """Return ``app`` with the protection inside of it, as a server has it."""
    app.add_middleware(
        ProtectionMiddleware, Options(**options), ring_of=lambda scope: RING
    )
    return app


def star(*routes: BaseRoute, **options: Any) -> Any:
    return behind(Starlette(routes=list(routes)), **options)


async def get(
    app: Any, url: str, method: str = "GET", *, key: bool = True, **scope: Any
) -> list[Message]:
    """Ask for a raw path, decoded once as servers do it."""
    return await ask(
        app,
        path=unquote(url),
        raw_path=url.encode(),
        method=method,
        content_type=None,
        header_keys=[KEY] if key else [],
        **scope,
    )


async def outcome(app: Any, url: str, method: str = "GET", **scope: Any) -> str:
    """Return what became of a request, with a key and without; none may show words."""
    sent = await get(app, url, method, **scope)
    bare = await get(app, url, method, key=False, **scope)
    assert CANARY.encode() not in body_of(sent) + body_of(bare)
    if header_of(sent, b"x-server-public-key"):
        assert code_of(bare) == (400, "client_key_missing")
        assert Opened(sent, PAIR).is_complete
        return "sealed"
    if sent[0]["status"] == 403:
        assert code_of(sent) == code_of(bare) == (403, "route_not_protected")
        return "refused"
    assert body_of(sent) == body_of(bare)
    assert sent[0]["status"] == bare[0]["status"]
    return f"clear {sent[0]['status']}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (CHAT, "sealed"),
        ("/v1/%63hat/completions", "sealed"),
        ("/%76%31/chat/completions", "sealed"),
        # Once decoded, a slash is a slash.
        ("/v1%2Fchat%2Fcompletions", "sealed"),
        # Decoded once, it is not what is mounted.
        ("/v1/%2563hat/completions", "clear 404"),
        (f"/{CHAT}", "clear 404"),
        ("/v1//chat/completions", "clear 404"),
        ("/V1/chat/completions", "clear 404"),
        ("/v1/chat/completions;x=1", "clear 404"),
        ("/v1/./chat/completions", "clear 404"),
        ("/health/..%2Fv1/chat/completions", "clear 404"),
        (f"{CHAT}/", "clear 307"),
        (f"{CHAT}%2F", "clear 307"),
        (f"{CHAT}%00", "clear 404"),
        # The router's pattern ends with a dollar sign, which a line end may follow.
        (f"{CHAT}%0A", "sealed"),
        ("/health", "clear 200"),
        ("/health%0A", "clear 200"),
        ("/%68ealth", "clear 200"),
    ],
)
@pytest.mark.parametrize("kind", ["starlette", "fastapi"])
async def test_a_path_means_what_it_means_to_the_router(
    url: str, expected: str, kind: str
) -> None:
    if kind == "starlette":
        app = star(Route(CHAT, say), Route("/health", fine))
    else:
        app = behind(FastAPI())
        app.get(CHAT)(lambda: SAID)
        app.get("/health")(lambda: "fine")
    assert await outcome(app, url) == expected


@pytest.mark.parametrize("url", [f"/api{CHAT}", CHAT])
async def test_a_root_path_is_taken_off(url: str) -> None:
    app = star(Route(CHAT, say))
    assert await outcome(app, url, root_path="/api") == "sealed"
    assert await outcome(app, f"/api/api{CHAT}", root_path="/api") == "clear 404"


async def test_a_root_path_ends_at_a_slash() -> None:
    app = star(Route("/pi/health", say), Route("/health", fine))
    assert await outcome(app, "/api/health", root_path="/api") == "clear 200"
    assert await outcome(app, "/apiary/health", root_path="/api") == "clear 404"
    assert await outcome(app, "/pi/health", root_path="/a") == "refused"


async def test_routes_inside_a_mount_are_looked_up_with_its_path() -> None:
    app = star(
        Mount("/v1", routes=[Route("/chat/completions", say), Route("/models", fine)]),
        Mount("/other", routes=[Route("/health", say), Route(CHAT, say)]),
        Mount("/a", routes=[Mount("/b", routes=[Route("/c", say)])]),
        routes=RouteTable(protected=["/a/b/c"]),
    )
    assert await outcome(app, "/a/b/c") == "sealed"
    assert await outcome(app, CHAT) == "sealed"
    assert await outcome(app, "/v1/models") == "clear 200"
    assert await outcome(app, "/other/health") == "refused"
    assert await outcome(app, f"/other{CHAT}") == "refused"
    assert await outcome(app, "/v1/nothing") == "refused"


async def test_a_whole_application_may_be_mounted() -> None:
    inner = FastAPI()
    inner.get("/completions")(lambda: SAID)
    inner.get("/health")(lambda: SAID)
    app = star(
        Mount("/v1/chat", app=inner), Mount("/sub", app=Router([Route("/x", say)]))
    )
    assert await outcome(app, CHAT) == "sealed"
    assert await outcome(app, "/v1/chat/health") == "refused"
    assert await outcome(app, "/v1/chat/docs") == "refused"
    assert await outcome(app, "/sub/x") == "refused"
    assert await outcome(app, "/sub/y") == "refused"


async def test_a_mount_at_the_root_adds_nothing_to_the_path() -> None:
    app = star(Mount("/", routes=[Route(CHAT, say), Route("/secret", say)]))
    assert await outcome(app, CHAT) == "sealed"
    assert await outcome(app, "/secret") == "refused"


async def test_files_are_served_only_under_a_clear_mount(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(CANARY)
    (tmp_path / "b.txt").write_text("fine")
    static = StaticFiles(directory=tmp_path)
    app = star(Mount("/files", app=static), Mount("/static", app=static))
    assert await outcome(app, "/files/a.txt") == "refused"
    assert await outcome(app, "/files/none") == "refused"
    assert await outcome(app, "/static/b.txt") == "clear 200"
    assert await outcome(app, "/static/b.txt", "POST") == "refused"
    added = behind(
        Starlette(routes=[Mount("/files", app=static)]),
        routes=RouteTable(protected=["/files"]),
    )
    # A file is no JSON: it travels in container opaque.
    sent = await get(added, "/files/a.txt")
    assert Opened(sent, PAIR).body == CANARY.encode()
    assert CANARY.encode() not in body_of(sent)


async def test_a_bare_application_gets_every_path_below_its_mount() -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse(SAID)(scope, receive, send)

    app = star(Mount("/v1/chat", app=bare), Mount("/health", app=bare))
    for url in (CHAT, "/v1/chat/", "/v1/chat/models", "/v1/chat/health"):
        assert await outcome(app, url) == "refused"


async def test_routes_of_a_host_are_looked_up_by_their_paths() -> None:
    routes = Router([Route(CHAT, say), Route("/secret", say), Route("/health", fine)])
    app = star(Host("api.test", app=routes), Route("/elsewhere", say))
    host: dict[str, Any] = {"headers": [(b"host", b"api.test")]}
    assert await outcome(app, CHAT, **host) == "sealed"
    assert await outcome(app, "/secret", **host) == "refused"
    assert await outcome(app, "/health", **host) == "clear 200"
    assert await outcome(app, "/secret") == "clear 404"


async def test_a_bare_application_of_a_host_is_refused() -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse(SAID)(scope, receive, send)

    app = star(Host("api.test", app=bare))
    assert await outcome(app, "/health", headers=[(b"host", b"api.test")]) == "refused"


async def test_a_route_with_parameters_is_looked_up_by_its_template() -> None:
    app = star(
        Route("/v1/responses/{response_id}", say),
        Route("/users/{name}", say),
        Route("/files/{path:path}", say),
        Route("/{name}", say),
        routes=RouteTable(protected=["/users/{name}", "/files/{path:path}"]),
    )
    assert await outcome(app, "/v1/responses/health") == "sealed"
    assert await outcome(app, "/users/a") == "sealed"
    assert await outcome(app, "/files/v1/models") == "sealed"
    # A word that happens to be a clear route's is not that route.
    assert await outcome(app, "/health") == "refused"
    assert await outcome(app, "/{name}") == "refused"


async def test_a_route_that_catches_everything_is_none_of_those_it_hides() -> None:
    app = star(Route("/{path:path}", say))
    for url in (CHAT, "/health", "/v1/models", "/"):
        assert await outcome(app, url) == "refused"


async def test_the_first_route_that_serves_counts() -> None:
    app = star(Route("/v1/{rest:path}", say), Route(CHAT, say), Route("/health", fine))
    assert await outcome(app, CHAT) == "refused"
    app = star(Route(CHAT, say), Route("/v1/{rest:path}", say))
    assert await outcome(app, CHAT) == "sealed"


async def test_two_routes_on_one_path_are_told_apart_by_method() -> None:
    app = star(
        Route("/health", fine, methods=["GET"]),
        Route("/health", say, methods=["POST"]),
        Route(CHAT, say, methods=["POST"]),
        Route(CHAT, say, methods=["GET"]),
    )
    assert await outcome(app, "/health") == "clear 200"
    assert await outcome(app, "/health", "HEAD") == "clear 200"
    assert await outcome(app, "/health", "POST") == "refused"
    assert await outcome(app, "/health", "DELETE") == "clear 405"
    assert await outcome(app, CHAT) == "sealed"
    assert await outcome(app, CHAT, "POST") == "sealed"


async def test_a_class_of_handlers_serves_every_method() -> None:
    class Health(HTTPEndpoint):
        async def get(self, request: Request) -> Response:
            return fine(request)

        async def post(self, request: Request) -> Response:
            return say(request)

    app = star(Route("/health", Health))
    assert await outcome(app, "/health") == "clear 200"
    assert await outcome(app, "/health", "POST") == "refused"


async def test_an_included_router_has_its_prefix() -> None:
    router = APIRouter(prefix="/chat")
    router.post("/completions")(lambda: SAID)
    router.post("/secret")(lambda: SAID)
    app = behind(FastAPI())
    app.include_router(router, prefix="/v1")
    assert await outcome(app, CHAT, "POST") == "sealed"
    assert await outcome(app, "/v1/chat/secret", "POST") == "refused"
    assert await outcome(app, "/chat/completions", "POST") == "clear 404"


async def test_the_wrong_method_of_a_protected_route_is_sealed() -> None:
    app = star(Route(CHAT, say, methods=["POST"]))
    sent = await get(app, CHAT)
    assert sent[0]["status"] == 405
    assert Opened(sent, PAIR).status == 405
    assert await outcome(app, CHAT, "BREW") == "sealed"


@pytest.mark.parametrize("method", ["POST", "DELETE", "BREW", "get"])
async def test_the_wrong_method_of_a_clear_route_is_a_constant(method: str) -> None:
    app = star(Route("/health", fine, methods=["GET"]))
    assert await outcome(app, "/health", method) == "clear 405"


async def test_a_route_that_nobody_put_in_the_table_is_refused_until_added() -> None:
    def build(**options: Any) -> Any:
        return star(Route("/v1/novelty", say, methods=["GET", "POST"]), **options)

    refused = await get(build(), "/v1/novelty", "POST")
    error = json.loads(body_of(refused))["error"]
    assert (refused[0]["status"], error["code"]) == (403, "route_not_protected")
    assert "SG_PROTECTED_ROUTES" in error["message"]
    assert "SG_CLEAR_ROUTES" in error["message"]
    assert "novelty" not in error["message"]
    added = build(routes=RouteTable(protected=["/v1/novelty"]))
    sent = await get(added, "/v1/novelty", "POST")
    assert json.loads(Opened(sent, PAIR).body) == SAID
    assert set(json.loads(body_of(sent))) == {"sealed"}
    clear = build(routes=RouteTable(clear=["/v1/novelty"]))
    for method in ("GET", "POST"):
        sent = await get(clear, "/v1/novelty", method, key=False)
        assert json.loads(body_of(sent)) == SAID


async def test_a_kind_of_route_without_a_path_is_refused() -> None:
    class Odd(BaseRoute):
        def matches(self, scope: Any) -> tuple[Match, Any]:
            return (Match.FULL, {}) if scope["type"] == "http" else (Match.NONE, {})

        async def handle(self, scope: Any, receive: Any, send: Any) -> None:
            await JSONResponse(SAID)(scope, receive, send)

    for url in (CHAT, "/health", "/"):
        assert await outcome(star(Odd()), url) == "refused"


async def test_an_application_in_another_is_asked_by_its_own_routes() -> None:
    protected = star(Route(CHAT, say), Route("/secret", say))
    outer = Starlette(
        routes=[Mount("/tenant", app=protected)], middleware=[Middleware(Outermost)]
    )
    assert await outcome(outer, f"/tenant{CHAT}") == "sealed"
    assert await outcome(outer, "/tenant/secret") == "refused"


class Outermost:
    """A middleware that does nothing."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


CLEAR = "/health"


def maze() -> Any:
    """Return an application of every kind of route. Only ``/health`` is clear."""
    inner = FastAPI()
    inner.post("/completions")(lambda: SAID)
    inner.get("/{name}")(lambda name: SAID)
    return star(
        Route(CLEAR, fine, methods=["GET"]),
        Route(CLEAR, say, methods=["POST"]),
        Route(CHAT, say, methods=["POST"]),
        Mount("/v1/chat", app=inner),
        Route("/v1/models/{name}", say),
        Mount("/v1", routes=[Route("/completions", say), Route("/{a}/{b}", say)]),
        Host("api.test", app=Router([Route("/health", say), Route("/x", say)])),
        Mount("/static", routes=[Route("/health", say)]),
        Route("/health/{path:path}", say),
        Route("/x/{path:path}", say),
    )


MAZE = maze()
SEGMENT = st.sampled_from(
    "v1 chat completions health models static x api . .. %2F %2e%2e %63hat %0A docs "
    "metrics {name} %25 \u00e9 ".split(" ")
)


@settings(max_examples=400, deadline=None)
@given(
    segments=st.lists(SEGMENT, max_size=5),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "get"]),
    root=st.sampled_from(["", "/api", "/v1", "/health"]),
    host=st.sampled_from([b"api.test", b"server.test"]),
)
@example(segments=["health"], method="POST", root="", host=b"server.test")
@example(segments=["health", ""], method="GET", root="", host=b"server.test")
@example(segments=["static", "health"], method="GET", root="", host=b"server.test")
def test_no_path_gets_an_unsealed_answer_but_the_clear_one(
    segments: list[str], method: str, root: str, host: bytes
) -> None:
    url = "/" + "/".join(segments)
    scope: dict[str, Any] = {"root_path": root, "headers": [(b"host", host)]}
    sent = asyncio.run(get(MAZE, url, method, **scope))
    body = body_of(sent)
    assert CANARY.encode() not in body
    if sent[0]["status"] < 300 and not header_of(sent, b"x-server-public-key"):
        assert unquote(url).removeprefix(root).rstrip("\n") == CLEAR
        assert body in (b"fine", b"")


async def leak(scope: Any, receive: Any, send: Any) -> None:
    """Answer whatever is asked, as a fallback that somebody has put in place."""
    await JSONResponse(SAID)(scope, receive, send)


async def test_what_a_mount_answers_in_place_of_its_routes_is_refused() -> None:
    inner = Router([Route("/x", say)], default=leak)
    app = star(Mount("/sub", app=inner))
    assert await outcome(app, "/sub/y") == "refused"


async def test_a_mount_with_a_middleware_that_answers_is_refused() -> None:
    inner = FastAPI()

    @inner.middleware("http")
    async def answer(request: Request, call_next: Any) -> Response:
        return JSONResponse(SAID)

    assert await outcome(star(Mount("/sub", app=inner)), "/sub/y") == "refused"


async def test_a_success_that_no_route_serves_is_refused() -> None:
    app = star(Route("/x", say))
    app.router.default = leak
    assert await outcome(app, "/y") == "refused"


class Lenient(Route):
    """A route that answers whatever the method."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


async def test_a_success_to_another_method_of_a_clear_route_is_refused() -> None:
    app = star(Lenient("/v1/models", say, methods=["GET"]))
    assert await outcome(app, "/v1/models", "POST") == "refused"


async def test_only_an_answer_leaves_where_no_route_serves() -> None:
    async def push(scope: Any, receive: Any, send: Any) -> None:
        assert scope["extensions"] == {}
        await send({"type": "http.response.push", "path": f"/{CANARY}", "headers": []})
        await PlainTextResponse("no", 404)(scope, receive, send)

    app = star(Route("/x", say))
    app.router.default = push
    sent = await get(app, "/y", extensions={"http.response.push": {}})
    assert {message["type"] for message in sent} == {
        "http.response.start",
        "http.response.body",
    }
