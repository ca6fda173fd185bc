"""Finds the route of an application that has no router to ask: by the request's path.

A path that is in no row of the table is refused before the application sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from stainedglass_output_protection.protocol.path_templates import pattern_of
from stainedglass_output_protection.protocol.routes import ROUTES
from stainedglass_output_protection.server.matching import path_below_root


class PathRoutes:
    """Gives a scope what ``server.matching`` asks of an application.

    ``added`` are the operator's rows. ``handlers`` are the application's handlers of
    errors, as Starlette has them.
    """

    def __init__(self, added: Iterable[str], handlers: Mapping[Any, Any]) -> None:
        # The table's own first: what is added must not take anything from them.
        paths = [*(row.path for row in ROUTES), *added]
        self._literal = frozenset(path for path in paths if "{" not in path)
        self._templates = [
            (pattern_of(path), _OneRoute(path)) for path in paths if "{" in path
        ]
        self._handlers = handlers
        self._plain = _StandIn(handlers)

    def stand_in(self, scope: Scope) -> _StandIn:
        """Return what stands for the application in ``scope``.

        A path that is a row itself, or in no row, is its own route. What is a row counts
        before rows with names in them, which may match it too.
        """
        path = path_below_root(scope)
        if path in self._literal:
            return self._plain
        for template, route in self._templates:
            if template.fullmatch(path):
                return _RoutedStandIn(self._handlers, route)
        return self._plain


class _StandIn:
    """Stands for an application without a router."""

    def __init__(self, handlers: Mapping[Any, Any]) -> None:
        self.exception_handlers = handlers


class _RoutedStandIn(_StandIn):
    """Stands for an application whose router has found a route."""

    def __init__(self, handlers: Mapping[Any, Any], route: _OneRoute) -> None:
        super().__init__(handlers)
        self.routes = [route]


class _OneRoute(BaseRoute):
    def __init__(self, path: str) -> None:
        self.path = path

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.FULL, {}
