"""Server and client read one table (``protocol.md#routes``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.carriers import envelopes_for
from stainedglass_output_protection.protocol.routes import (
    REFUSED,
    ROUTES,
    TABLE,
    Route,
    RouteClass,
    RouteTable,
    is_clear_url,
    may_be_made_clear,
)

SPECIFICATION = Path(__file__).parents[2] / "docs" / "protocol.md"


@pytest.mark.parametrize("prefix", ["", "/api", "/a/b", "/v1"])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_a_client_takes_clear_answers_of_clear_routes_only(
    prefix: str, route: Route
) -> None:
    for method in route.methods or ("GET", "POST"):
        assert is_clear_url(method, prefix + route.path) is may_be_clear(prefix, route)


def may_be_clear(prefix: str, route: Route) -> bool:
    if route.route_class is not RouteClass.CLEAR:
        return False
    return not prefix or (route.path.startswith("/v1/") and prefix != "/v1")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/health"),
        ("GET", "/v1/responses/a%2Fmetrics"),
        ("GET", "/v1/files/v1/models"),
        ("GET", "/v2/responses/health"),
        ("GET", "/v1/responses/v1%2Fmodels"),
        ("POST", "/v1/models"),
        ("GET", "/v1/modelsx"),
        ("GET", "/adapters/x/v1/models"),
        ("GET", "/static/../v1/responses/x"),
        ("GET", "/static/%2e%2e/../health"),
        ("POST", "/health"),
        ("GET", "//health"),
        ("GET", ""),
    ],
)
def test_nothing_else_in_a_path_makes_its_answer_clear(method: str, path: str) -> None:
    assert not is_clear_url(method, path)


@pytest.mark.parametrize(
    "path", ["", "/", "/v1", "/v1/modelsx", "/v1/chat/completions/"]
)
def test_what_is_in_no_row_is_refused(path: str) -> None:
    assert TABLE.row(path) is REFUSED


def test_every_carrier_of_the_table_is_one() -> None:
    for route in ROUTES:
        assert envelopes_for(route.carrier).body(b"{}").after is not None


def test_an_operator_adds_rows() -> None:
    table = RouteTable(protected=["/mine/{id}"], clear=["/open"])
    assert table.row("/mine/{id}").route_class is RouteClass.PROTECTED
    assert table.row("/open").route_class is RouteClass.CLEAR
    assert TABLE.row("/open") is REFUSED


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/v1/{x}", False),
        ("/{a}", False),
        ("/v1/chat/{what}", False),
        ("/v1/chat/comp{rest}", False),
        ("/{a}/chat/completions", False),
        ("/v1/responses/{id}", False),
        ("/v1/{a}/{b}/cancel", False),
        ("/v1/responses/resp_1", False),
        ("/{everything:path}", False),
        ("/v1/{rest:path}", False),
        ("/v1/completions", False),
        ("/v1/models/{model_id}", True),
        ("/v1/models/{model_id:path}", True),
        ("/v1", False),
        ("/v1/chat", False),
        ("/vendor/{x}", True),
        ("/vendor/{a}/{b}/{c}/{d}", True),
        ("/adapters/{adapter_name}", True),
        ("/adapters/{any}", True),
        ("/sleep", True),
        ("/", True),
    ],
)
def test_what_an_operator_may_make_clear(path: str, may: bool) -> None:
    assert may_be_made_clear(path) is may


def test_the_specification_names_every_row() -> None:
    text = SPECIFICATION.read_text(encoding="utf-8")
    for route in ROUTES:
        assert f"`{route.path}`" in text
