"""A server of EasyDeL's make: its tools, and what else it has beside answers."""

from __future__ import annotations

from typing import Any

import pytest

from stainedglass_output_protection.asgi import protect
from tests.asgi.applications import CANARY, Identity
from tests.asgi.asking import EXECUTE, client_of, raw
from tests.asgi.inference_server import StandIn
from tests.asgi.serving import fetched, served


def test_tools_are_executed_for_who_has_a_key(url: str, client: Any) -> None:
    assert client.post(url + EXECUTE, json={}).json()["result"] == CANARY
    assert fetched(url + EXECUTE, "POST", json={}).status_code == 400


def test_tools_and_a_model_may_be_sealed(owned: Identity) -> None:
    rows = ("/v1/tools", EXECUTE, "/v1/models/{model_id}")
    app = protect(StandIn().app, identity_key_file=owned.path, protected_routes=rows)
    with served(app) as where, client_of(owned, "sealed") as client:
        assert client.get(f"{where}/v1/tools").json()["models"]
        assert client.get(f"{where}/v1/models/m").json() == {"id": "m"}
        assert fetched(f"{where}/v1/tools").status_code == 400


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
