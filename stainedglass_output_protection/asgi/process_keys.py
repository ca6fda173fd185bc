"""The epoch keys of one protected application: with its lifespan, or from its first use.

Servers may leave the lifespan out, and frameworks do for an application that is mounted
in another one. Keys are then made for the first request: they are the same keys, only
nobody learns before it that they cannot be had.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from starlette.types import Scope

from stainedglass_output_protection.errors import (
    ConfigurationError,
    KeysUnavailableError,
)
from stainedglass_output_protection.hosting.identity import process_identity
from stainedglass_output_protection.hosting.keys import make_key_ring, rotating
from stainedglass_output_protection.hosting.report import report_settings
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.hosting.start_barrier import pass_the_mark
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.observer import Observer
from stainedglass_output_protection.server.rotation import rotate_periodically

logger = logging.getLogger(__name__)


class ProcessKeys:
    """Where ``ring_of`` finds the keys. For one event loop at a time.

    ``observer`` is told of them.
    """

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        self._ring: KeyRing | None = None
        self._has_lifespan = False
        # Turns the ring where there is no lifespan.
        self._task: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """Make the keys, renew them in time, and drop them at the end of the block.

        Raises:
            ConfigurationError: a file of the settings cannot be used any more.
            KeysUnavailableError: the first key cannot be made.
        """
        self._has_lifespan = True
        ring = self._made()
        async with rotating(ring):
            self._ring = ring
            try:
                yield
            finally:
                self._ring = None

    async def ready(self) -> None:
        """Wait until requests of now are taken: in a fleet that is not at once."""
        if self._settings.fleet_secret_file is not None:
            await pass_the_mark()

    def ring_of(self, scope: Scope) -> KeyRing:
        """Return the key ring.

        Raises:
            KeysUnavailableError: there is none, and why.
        """
        if self._ring is not None and self._has_lifespan:
            return self._ring
        if self._has_lifespan:
            raise KeysUnavailableError("The application's lifespan has ended.")
        return self._of_first_use()

    def _of_first_use(self) -> KeyRing:
        loop = asyncio.get_running_loop()
        if self._ring is None:
            logger.warning(
                "The server does not run this application's lifespan, so its keys were "
                "made with the first request. Problems with them show only now."
            )
            try:
                self._ring = self._made()
            except ConfigurationError as error:
                raise KeysUnavailableError(str(error)) from None
        task = self._task
        if task is None or task.done() or task.get_loop() is not loop:
            # It ends with its loop, which a test or a worker may replace.
            self._task = loop.create_task(rotate_periodically(self._ring))
        return self._ring

    def _made(self) -> KeyRing:
        settings = self._settings
        ring = make_key_ring(
            settings, settings.key_refresh_time_s, observer=self._observer
        )
        report_settings(settings, process_identity(settings.identity_key_file))
        return ring
