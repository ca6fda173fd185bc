"""Warnings about requests, said seldom enough that a flood does not fill the log."""

from __future__ import annotations

import logging

from stainedglass_output_protection.protocol.routes import Route, RouteClass
from stainedglass_output_protection.server.matching import Matched
from stainedglass_output_protection.server.policy import KeylessPolicy

logger = logging.getLogger(__name__)

_CHOICE = "add it to SG_PROTECTED_ROUTES, or in the clear to SG_CLEAR_ROUTES."


class Notices:
    """Remembers what one server has said: of each route once, so no more than it has.

    Paths that are shown are the table's or the application's own, never a client's.
    """

    def __init__(self) -> None:
        self._keyless = 0
        self._said: set[str] = set()

    def refused_route(self, route: Route, matched: Matched) -> None:
        """Say once that a route is refused because nobody has classified it.

        ``route`` is its row in the table: none, or a clear one for other methods.
        """
        if route.route_class is RouteClass.CLEAR:
            methods = " and ".join(sorted(route.methods or ()))
            words = (
                f"The route {route.path} is served in the clear to {methods}, and "
                "refused to other methods. To serve those too, in the clear, add it to "
                "SG_CLEAR_ROUTES."
            )
        elif matched.is_client_s:
            words = (
                "A path that is in no table was asked for, and is refused, as others "
                f"will be. To serve a path of the application, {_CHOICE}"
            )
        else:
            path = matched.path.encode("unicode_escape").decode("ascii")
            words = f"The route {path} is in no table and is refused. "
            words += f"To serve it, {_CHOICE}"
        if words not in self._said:
            self._said.add(words)
            logger.warning("%s", words)

    def keyless(self, route: Route, policy: KeylessPolicy) -> None:
        """Say that a request without a key was answered, each time the number doubles."""
        self._keyless += 1
        if self._keyless & (self._keyless - 1) == 0:
            how = "in the clear" if policy is KeylessPolicy.ALLOW else "to nobody"
            logger.warning(
                "Answered %s, %d so far: a request for %s had no client public key, and "
                "SG_KEYLESS_REQUESTS=%s.",
                how,
                self._keyless,
                route.path,
                policy.value,
            )
