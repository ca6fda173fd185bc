"""The one table of routes that server and client share (``protocol.md#routes``)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from stainedglass_output_protection.protocol.path_templates import (
    may_coincide,
    pattern_of,
)


class RouteClass(Enum):
    """What may travel on a route."""

    PROTECTED = "protected"
    CLEAR = "clear"
    REFUSED = "refused"


@dataclass(frozen=True)
class Route:
    """One row: the path as the application mounts it, and what its answers are.

    ``carrier`` names the place of the frame in container ``fields``. ``methods`` counts
    for clear routes only: what is protected is protected for every method.
    ``shows_transfer`` makes ``kv_transfer_params`` readable. ``adds_members`` lets the
    server add an owner's members to sealed requests.
    """

    path: str
    route_class: RouteClass
    carrier: str = "sealed"
    methods: frozenset[str] | None = None
    shows_transfer: bool = False
    adds_members: bool = True


_GET = frozenset({"GET", "HEAD"})

REFUSED = Route("", RouteClass.REFUSED)

_CARRIERS = {
    "chat": ("/v1/chat/completions", "/v1/chat/completions/batch"),
    "completions": ("/v1/completions",),
    "responses": ("/v1/responses",),
    "messages": ("/v1/messages",),
    "count": ("/v1/messages/count_tokens",),
    "embeddings": ("/v1/embeddings",),
    "data": ("/classify", "/pooling", "/score", "/v1/score", "/generative_scoring"),
    "results": ("/rerank", "/v1/rerank", "/v2/rerank"),
    "transcription": ("/v1/audio/transcriptions", "/v1/audio/translations"),
    "decisions": ("/v1/systemone",),
    "tokens": ("/tokenize",),
    "prompt": ("/detokenize",),
    "sealed": (
        "/v2/embed",
        "/cohere/v2/chat",
        "/cohere/v2/chat/render",
        "/invocations",
        "/tokenizer_info",
        "/v1/chat/completions/render",
        "/v1/chat/completions/derender",
        "/v1/completions/render",
        "/v1/completions/derender",
        "/v1/messages/render",
        "/v1/responses/render",
        "/inference/v1/generate",
        "/server_info",
        "/collective_rpc",
    ),
}
# No words of a model are in their answers, so an operator may make them clear.
OPERATORS = (
    "/inference/v1/abort_requests",
    "/abort_requests",
    "/v1/load_lora_adapter",
    "/adapters",
    "/adapters/{adapter_name}",
    "/v1/unload_lora_adapter",
    "/scale_elastic_ep",
    "/is_scaling_elastic_ep",
    "/fault_tolerance/apply",
    "/start_profile",
    "/stop_profile",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/reset_encoder_cache",
    "/sleep",
    "/wake_up",
    "/release_kv_cache_memory",
    "/pause",
    "/resume",
    "/init_weight_transfer_engine",
    "/shutdown_weight_transfer_engine",
    "/start_weight_update",
    "/start_draft_weight_update",
    "/update_weights",
    "/finish_weight_update",
    "/update_weight_version",
    "/weight_checker",
    "/weight_info",
)
_CLEAR = (
    "/v1/models",
    "/health",
    "/version",
    "/metrics",
    "/metrics/",
    "/load",
    "/ping",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
    "/openapi.json",
    "/static",
    "/kv_event_sources",
    "/is_sleeping",
    "/is_paused",
    "/get_world_size",
    "/fault_tolerance/status",
)
# Below these an id of anybody's choice may stand.
_WITH_IDS = ("/v1/", "/adapters/")
# Files, below the path of the row.
_CLEAR_MOUNT = "/static/"
STORED_RESPONSES = ("/v1/responses/{response_id}", "/v1/responses/{response_id}/cancel")

ROUTES: tuple[Route, ...] = (
    *(
        Route(path, RouteClass.PROTECTED, carrier)
        for carrier, paths in _CARRIERS.items()
        for path in paths
    ),
    *(Route(path, RouteClass.PROTECTED) for path in OPERATORS),
    *(Route(path, RouteClass.PROTECTED, "responses") for path in STORED_RESPONSES),
    *(
        Route(
            path, RouteClass.CLEAR, methods=_GET | {"POST"} if path == "/ping" else _GET
        )
        for path in _CLEAR
    ),
)


class RouteTable:
    """The table, with the rows that an operator adds."""

    def __init__(
        self,
        *,
        protected: Iterable[str] = (),
        clear: Iterable[str] = (),
        shows_transfer: bool = False,
        adds_members: bool = True,
    ) -> None:
        rows = [
            *(Route(path, RouteClass.PROTECTED) for path in protected),
            *ROUTES,
            *(Route(path, RouteClass.CLEAR) for path in clear),
        ]
        self._by_path = {
            row.path: replace(
                row, shows_transfer=shows_transfer, adds_members=adds_members
            )
            for row in rows
        }
        self._templates = [pattern_of(path) for path in self._by_path if "{" in path]

    def row(self, path: str) -> Route:
        """Return the row for a path as the application mounts it."""
        return self._by_path.get(path, REFUSED)

    def serves(self, path: str) -> bool:
        """Tell whether a URL's path is one of the table's, with ids in their places."""
        return path in self._by_path or any(
            template.fullmatch(path) for template in self._templates
        )


TABLE = RouteTable()


def may_be_made_clear(path: str) -> bool:
    """Tell whether an operator may serve a route in the clear: not what is protected.

    A name in ``path`` must not take in what is, whatever the name. Routes that no row
    names are the operator's to judge.
    """
    return path in OPERATORS or not any(
        may_coincide(path, row.path)
        for row in ROUTES
        if row.route_class is RouteClass.PROTECTED and row.path not in OPERATORS
    )


def is_clear_url(method: str, path: str) -> bool:
    """Tell whether a client accepts a clear answer to its request for a URL's raw path.

    ``path`` is not percent-decoded: an id in it must not make it another route.
    """
    if "/." in path:
        return False
    if path.startswith(_CLEAR_MOUNT) and method in _GET:
        # A server may stand below a path of that name.
        return "/v1/" not in f"{path}/"
    start = 0
    while start >= 0:
        row = TABLE.row(path[start:])
        is_clear = row.route_class is RouteClass.CLEAR and method in (row.methods or ())
        if is_clear and _may_be_clear(path, start):
            return True
        start = path.find("/", start + 1)
    return False


def _may_be_clear(path: str, start: int) -> bool:
    """Tell whether a clear row at ``start`` cannot be the end of an id in the path."""
    prefix = f"{path[:start]}/"
    return not start or (
        path.startswith("/v1/", start) and not any(item in prefix for item in _WITH_IDS)
    )
