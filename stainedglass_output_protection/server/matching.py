"""Which route the application's router will serve a request by.

It is asked, not guessed from the path: doubled slashes, percent-encoding, mounts and
root paths are the router's business, and what it serves is what has to be protected.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from stainedglass_output_protection.protocol.routes import Route, RouteClass


class Matched(NamedTuple):
    """The path template of a route. ``allows`` is false if the method is another.

    ``is_client_s`` says that nobody has matched the path: a client chose it.
    """

    path: str
    allows: bool
    is_client_s: bool = False


def matched_route(scope: Scope) -> Matched | None:
    """Return the route that will serve ``scope``; None if there is none.

    An application without a router is one route, and its path is the request's own.
    """
    routes = getattr(scope.get("app"), "routes", None)
    if routes is None:
        return Matched(path_below_root(scope), allows=True, is_client_s=True)
    return _matched(scope, routes)


def path_below_root(scope: Scope) -> str:
    """Return the path as the router matches it, without the root path."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path


def _matched(scope: Scope, routes: Iterable[BaseRoute]) -> Matched | None:
    partly = None
    for route in routes:
        match, child_scope = route.matches(scope)
        if match is Match.NONE:
            continue
        # A route of a kind that has no path can be in no table: it is refused.
        path = getattr(route, "path", "")
        inner = getattr(route, "routes", None)
        if match is Match.FULL and inner:
            found = _matched({**scope, **child_scope}, inner)
            # Without one, the mounted application answers as it likes.
            if found is not None:
                return Matched(path + found.path, found.allows)
        if match is Match.FULL:
            return Matched(path, allows=True)
        partly = partly or Matched(path, allows=False)
    return partly


def is_clear(route: Route, matched: Matched, method: str) -> bool:
    """Tell whether an answer carries nothing that must be sealed.

    What the router answers to another method than the clear route's is a constant.
    """
    if route.route_class is not RouteClass.CLEAR:
        return False
    return not matched.allows or route.methods is None or method in route.methods
