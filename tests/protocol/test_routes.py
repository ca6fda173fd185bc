"""Server and client read one table (``protocol.md#routes``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.routes import (
    REFUSED,
    ROUTES,
    Route,
    RouteClass,
    classify,
    classify_url,
)

SPECIFICATION = Path(__file__).parents[2] / "docs" / "protocol.md"


@pytest.mark.parametrize("prefix", ["", "/api", "/a/b", "/v1"])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_a_client_finds_each_route_below_any_prefix(prefix: str, route: Route) -> None:
    for method in route.methods:
        found = classify_url(method, prefix + route.path)
        assert found is (route if may_have(prefix, route) else REFUSED)


def may_have(prefix: str, route: Route) -> bool:
    if route.route_class is RouteClass.PROTECTED or not prefix:
        return True
    return route.path.startswith("/v1/") and prefix != "/v1"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses/health",
        "/v1/responses/a%2Fmetrics",
        "/v1/files/v1/models",
        "/v2/responses/health",
        "/v1/responses/v1%2Fmodels",
    ],
)
def test_no_id_in_a_path_makes_its_answer_clear(path: str) -> None:
    assert classify_url("GET", path) is REFUSED


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/responses"),
        ("POST", "/v1/modelsx"),
        ("POST", "/v1/models"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1/chat%2Fcompletions"),
        ("GET", ""),
    ],
)
def test_everything_else_is_refused(method: str, path: str) -> None:
    assert classify(method, path) is REFUSED
    assert classify_url(method, path).route_class is not RouteClass.CLEAR


def test_the_specification_names_every_row() -> None:
    text = SPECIFICATION.read_text(encoding="utf-8")
    for route in ROUTES:
        assert f"`{route.path}`" in text
