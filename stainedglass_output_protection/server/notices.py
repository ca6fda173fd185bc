"""Warnings about requests, said seldom enough that a flood does not fill the log."""

from __future__ import annotations

import logging

from stainedglass_output_protection.protocol.routes import Route
from stainedglass_output_protection.server.policy import KeylessPolicy

logger = logging.getLogger(__name__)

# An application without a router has as many routes as anybody likes to ask for.
_MAX_SAID = 100


class Notices:
    """Remembers what one server has said."""

    def __init__(self) -> None:
        self._keyless = 0
        self._said: set[str] = set()

    def unknown_route(self, path: str) -> None:
        """Say once that a route is refused because nobody has classified it."""
        if path not in self._said and len(self._said) < _MAX_SAID:
            self._said.add(path)
            logger.warning(
                "The route %s is in no table and is refused. To serve it, add it to "
                "SG_PROTECTED_ROUTES, or in the clear to SG_CLEAR_ROUTES.",
                # Of an application without a router it is the client's own.
                path.encode("unicode_escape").decode("ascii"),
            )

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
