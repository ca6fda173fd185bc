"""What protects one application: its keys, and the layers that are put around it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp

from stainedglass_output_protection.asgi.process_keys import ProcessKeys
from stainedglass_output_protection.hosting.middleware_options import (
    options_of,
    replay_store_maker,
)
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.server.middleware import ProtectionMiddleware
from stainedglass_output_protection.server.observer import Observer
from stainedglass_output_protection.server.replay_store import ReplayStore
from stainedglass_output_protection.server.sealed_authorization import (
    SealedAuthorizationMiddleware,
)


class Parts:
    """The parts that one set of settings asks for. All of them tell ``observer``."""

    def __init__(
        self,
        settings: Settings,
        *,
        keeps_responses: bool,
        adds_members: bool,
        observer: Observer,
    ) -> None:
        self.keys = ProcessKeys(settings, observer)
        self._observer = observer
        self.added_routes: Iterable[str] = (
            *sorted(settings.protected_routes),
            *sorted(settings.clear_routes),
        )
        self.moves_authorization = settings.sealed_authorization
        self.options = options_of(
            settings, has_store=keeps_responses, adds_members=adds_members
        )
        # One for both layers.
        self._replay_store: Callable[[], ReplayStore] = functools.cache(
            replay_store_maker(settings)
        )

    def protected(self, app: ASGIApp) -> ProtectionMiddleware:
        """Return ``app`` in the layer that seals. It must be the innermost."""
        return ProtectionMiddleware(
            app,
            self.options,
            ring_of=self.keys.ring_of,
            replay_store=self._replay_store,
            observer=self._observer,
        )

    def authorized(self, app: ASGIApp) -> ASGIApp:
        """Return ``app`` in the layer for sealed API keys, if the settings ask for it.

        It must be outside of authentication.
        """
        if not self.moves_authorization:
            return app
        return SealedAuthorizationMiddleware(
            app,
            self.options,
            ring_of=self.keys.ring_of,
            replay_store=self._replay_store,
            observer=self._observer,
        )
