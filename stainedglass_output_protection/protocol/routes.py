"""The one table of routes that server and client share (``protocol.md#routes``)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stainedglass_output_protection.protocol.constants import CONTAINER_FIELDS


class RouteClass(Enum):
    """What may travel on a route."""

    PROTECTED = "protected"
    CLEAR = "clear"
    REFUSED = "refused"


@dataclass(frozen=True)
class Route:
    """One row: the path below the base URL's prefix, its methods and its class.

    ``name`` selects the readable members and the carrier in ``envelope.py``.
    """

    path: str
    methods: frozenset[str]
    route_class: RouteClass
    name: str
    container: int = CONTAINER_FIELDS


_POST = frozenset({"POST"})
_GET = frozenset({"GET", "HEAD"})

REFUSED = Route("", frozenset(), RouteClass.REFUSED, "refused")

ROUTES: tuple[Route, ...] = (
    Route("/v1/chat/completions", _POST, RouteClass.PROTECTED, "chat"),
    Route("/v1/completions", _POST, RouteClass.PROTECTED, "completions"),
    Route("/v1/models", _GET, RouteClass.CLEAR, "models"),
    Route("/health", _GET, RouteClass.CLEAR, "health"),
    Route("/version", _GET, RouteClass.CLEAR, "version"),
    Route("/metrics", _GET, RouteClass.CLEAR, "metrics"),
    Route("/metrics/", _GET, RouteClass.CLEAR, "metrics"),
    Route("/load", _GET, RouteClass.CLEAR, "load"),
    Route("/ping", _GET | _POST, RouteClass.CLEAR, "ping"),
    Route("/docs", _GET, RouteClass.CLEAR, "docs"),
    Route("/docs/oauth2-redirect", _GET, RouteClass.CLEAR, "docs"),
    Route("/redoc", _GET, RouteClass.CLEAR, "docs"),
    Route("/openapi.json", _GET, RouteClass.CLEAR, "docs"),
)

_BY_PATH = {route.path: route for route in ROUTES}


def classify(method: str, path: str) -> Route:
    """Return the row for a path as the server's router sees it, without root path."""
    route = _BY_PATH.get(path)
    return route if route is not None and method in route.methods else REFUSED


def classify_url(method: str, path: str) -> Route:
    """Return the row for a URL's raw path, whatever prefix the base URL has.

    ``path`` is not percent-decoded: an id in it must not make it another route. What is
    in no row comes back as refused, and its answer must be sealed to be accepted.
    """
    start = 0
    while start >= 0:
        route = classify(method, path[start:])
        if route.route_class is RouteClass.PROTECTED:
            return route
        if route.route_class is RouteClass.CLEAR and _may_be_clear(path, start):
            return route
        start = path.find("/", start + 1)
    return REFUSED


def _may_be_clear(path: str, start: int) -> bool:
    """Tell whether a clear row at ``start`` cannot be the end of an id in the path."""
    prefix = path[:start]
    return not prefix or (path.startswith("/v1/", start) and "/v1/" not in f"{prefix}/")
