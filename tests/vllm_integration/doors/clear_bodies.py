"""The doors whose answers hold nothing of anybody's requests (``protocol.md#routes``)."""

from __future__ import annotations

from tests.vllm_integration.doors.door import Ask, Door

# Mounted for other applications, which answer every method: vLLM mounts two.
MOUNT = "*"


def _clear(path: str | None = None) -> Door:
    return Door((Ask(path=path),), is_clear=True)


CLEAR: dict[tuple[str, str], Door] = {
    ("GET", "/openapi.json"): _clear(),
    ("HEAD", "/openapi.json"): _clear(),
    ("GET", "/docs"): _clear(),
    ("HEAD", "/docs"): _clear(),
    ("GET", "/docs/oauth2-redirect"): _clear(),
    ("HEAD", "/docs/oauth2-redirect"): _clear(),
    ("GET", "/redoc"): _clear(),
    ("HEAD", "/redoc"): _clear(),
    ("GET", "/health"): _clear(),
    ("GET", "/version"): _clear(),
    ("GET", "/load"): _clear(),
    ("GET", "/ping"): _clear(),
    ("POST", "/ping"): _clear(),
    ("GET", "/v1/models"): _clear(),
    ("GET", "/kv_event_sources"): _clear(),
    ("GET", "/metrics"): _clear(),
    (MOUNT, "/metrics"): _clear("/metrics/"),
    (MOUNT, "/static"): _clear("/static/swagger-ui.css"),
    ("GET", "/is_sleeping"): _clear(),
    ("GET", "/is_paused"): _clear(),
    ("GET", "/get_world_size"): _clear(),
    ("GET", "/fault_tolerance/status"): _clear(),
}
