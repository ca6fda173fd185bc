"""What ``/docs`` shows of the protection, in the document of a FastAPI application."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.openapi.models import OpenAPI

from stainedglass_output_protection.protocol.routes import RouteTable
from stainedglass_output_protection.server.openapi import SCHEME, describe_in_openapi
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.refusal_list import REFUSALS
from tests.asgi_driver import CHAT

ELSEWHERE = {"route_not_protected", "method_not_allowed"}


def app_with_routes() -> FastAPI:
    app = FastAPI()

    async def answer() -> None:
        return None

    app.post(CHAT, responses={400: {"description": "What the application says."}})(
        answer
    )
    app.get("/v1/responses/{response_id}")(answer)
    app.get("/health")(answer)
    app.post("/added")(answer)
    app.post("/unknown")(answer)
    return app


def document(**options: Any) -> dict[str, Any]:
    app = app_with_routes()
    describe_in_openapi(app, Options(**options))
    shown = app.openapi()
    # As a browser gets it, and as the specification has it.
    OpenAPI.model_validate(json.loads(json.dumps(shown)))
    return shown


@pytest.mark.parametrize("header", ["x-client-public-key", "x-other"])
def test_authorize_takes_the_client_key_in_the_header_that_is_set(header: str) -> None:
    shown = document(client_key_header=header)
    (name,) = shown["components"]["securitySchemes"]
    scheme = shown["components"]["securitySchemes"][name]
    assert (scheme["type"], scheme["in"], scheme["name"]) == (
        "apiKey",
        "header",
        header,
    )
    for path, method in ((CHAT, "post"), ("/v1/responses/{response_id}", "get")):
        assert shown["paths"][path][method]["security"] == [{name: []}]


def test_protected_operations_alone_show_headers_and_errors() -> None:
    shown = document(
        server_key_header="x-mine", routes=RouteTable(protected=["/added"])
    )
    paths = shown["paths"]
    for path, method in (
        (CHAT, "post"),
        ("/v1/responses/{response_id}", "get"),
        ("/added", "post"),
    ):
        responses = paths[path][method]["responses"]
        assert "x-mine" in responses["200"]["headers"]
        text = json.dumps(responses)
        for code, (status, _) in REFUSALS.items():
            assert (f"`{code}`" in text) is (code not in ELSEWHERE)
            if code not in ELSEWHERE:
                assert f"`{code}`" in responses[str(status)]["description"]
    for path, method in (("/health", "get"), ("/unknown", "post")):
        assert "security" not in paths[path][method]
        assert not any(code in json.dumps(paths[path]) for code in REFUSALS)


def test_what_the_application_says_of_a_status_stays() -> None:
    described = document()["paths"][CHAT]["post"]["responses"]["400"]["description"]
    assert described.startswith("What the application says.")
    assert "`client_key_missing`" in described


def test_doing_it_again_changes_nothing_and_the_app_s_own_document_stays() -> None:
    app = app_with_routes()
    plain = json.dumps(app.openapi())
    describe_in_openapi(app, Options())
    describe_in_openapi(app, Options())
    assert app.openapi() == app.openapi()
    assert json.dumps(app.openapi()).count("client_key_missing") == 3 - 1
    assert json.dumps(app.openapi_schema) == plain


def test_a_document_is_described_once() -> None:
    app = app_with_routes()
    describe_in_openapi(app, Options())
    # As FastAPI's own, which makes it once.
    assert app.openapi() is app.openapi()


def add_a_route(app: FastAPI) -> None:
    async def answer() -> None:
        return None

    app.post("/v1/completions")(answer)
    app.openapi_schema = None


def replace_the_document(app: FastAPI) -> None:
    app.openapi_schema = {
        **(app.openapi_schema or {}),
        "paths": {"/v1/completions": {"post": {}}},
    }


def change_the_document(app: FastAPI) -> None:
    assert app.openapi_schema is not None
    app.openapi_schema["paths"]["/v1/completions"] = {"post": {}}


@pytest.mark.parametrize(
    "change", [add_a_route, replace_the_document, change_the_document]
)
def test_a_document_that_changes_is_described_anew(
    change: Callable[[FastAPI], None],
) -> None:
    app = app_with_routes()
    describe_in_openapi(app, Options())
    assert "/v1/completions" not in app.openapi()["paths"]
    change(app)
    operation = app.openapi()["paths"]["/v1/completions"]["post"]
    assert SCHEME in operation["security"][0]
    assert "client_key_missing" in json.dumps(operation)
    own = app.openapi_schema
    assert own is not None
    assert "security" not in own["paths"]["/v1/completions"]["post"]
    assert app.openapi() is app.openapi()


def test_a_change_that_python_takes_for_equal_is_shown() -> None:
    app = app_with_routes()
    describe_in_openapi(app, Options())
    app.openapi()
    assert app.openapi_schema is not None
    app.openapi_schema["info"]["x-beta"] = 1
    assert json.dumps(app.openapi()["info"]["x-beta"]) == "1"
    app.openapi_schema["info"]["x-beta"] = True
    assert json.dumps(app.openapi()["info"]["x-beta"]) == "true"


def test_an_application_without_a_document_is_left_alone() -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        """Answer nothing."""

    describe_in_openapi(bare, Options())
