"""A server of EasyDeL's make: its probes, counts and description need no key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.server.key_ring import KeyRing
from tests.asgi.applications import CHAT, Identity
from tests.asgi.asking import ASKED, body_of, raw
from tests.asgi.inference_server import StandIn
from tests.asgi.serving import fetched, served

READY = "/.well-known/output-protection/ready"
PROBES = ["/health", "/metrics", "/v1/models", "/v1/models/m", "/v1/tools"]
_COUNTS = (
    "total_requests",
    "successful_requests",
    "failed_requests",
    "total_tokens_generated",
)


@pytest.mark.parametrize("path", [*PROBES, "/openapi.json"])
def test_probes_need_no_key(url: str, path: str) -> None:
    told = fetched(url + path)

    assert told.status_code == 200
    assert told.headers["x-request-id"].startswith("req_")
    assert "sgop1." not in told.text


@pytest.mark.parametrize("path", PROBES)
def test_probes_read_what_they_read_without_protection(
    url: str, bare: str, path: str
) -> None:
    told, plain = fetched(url + path).json(), fetched(bare + path).json()

    assert told.keys() == plain.keys()
    assert told.get("status") == plain.get("status")
    assert str(told.get("data"))[:8] == str(plain.get("data"))[:8]


def counts_of(url: str, ask: Callable[[str, str, Any], Any]) -> dict[str, int]:
    """Return by how much its own counts go up while it is asked for everything."""

    def now() -> dict[str, int]:
        told = fetched(f"{url}/metrics").json()
        return {it: told[it] for it in _COUNTS}

    before = now()
    for path, prompt in ASKED:
        for stream in (False, True):
            ask(url, path, body_of(path, prompt, stream=stream))
    return {it: count - before[it] for it, count in now().items()}


def test_counts_are_those_without_protection(url: str, bare: str) -> None:
    protected = counts_of(url, raw)

    assert protected == counts_of(
        bare, lambda url, path, body: fetched(url + path, "POST", json=body)
    )
    assert protected["failed_requests"] == 6
    assert protected["total_tokens_generated"] > 0
    assert fetched(f"{url}/health").json()["status"] == "ready"


def test_readiness_is_ours_and_health_its_own(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(ring: KeyRing, now_ms: int) -> Any:
        raise KeysUnavailableError("No epoch of this server has begun.")

    with served(protect(StandIn().app, identity_key_file=identity.path)) as where:
        before = fetched(where + READY)
        monkeypatch.setattr(KeyRing, "current", none)
        after = fetched(where + READY)
        health = fetched(f"{where}/health")

    assert (before.status_code, after.status_code) == (200, 503)
    assert after.json()["reason"] == "No epoch of this server has begun."
    assert (health.status_code, health.json()["status"]) == (200, "ready")


def test_the_description_of_the_api_shows_the_key(url: str) -> None:
    described = fetched(f"{url}/openapi.json").json()

    assert "client_key_missing" in str(described["paths"][CHAT])
    assert "x-client-public-key" in str(described["components"]["securitySchemes"])
