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
from stainedglass_output_protection.server.clock import elapsed_ms
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.observer import Observer
from stainedglass_output_protection.server.rotation import rotate_periodically

logger = logging.getLogger(__name__)

# How soon a first key that could not be made is tried again: no request must be able to
# make the server work in vain.
_RETRY_MS = 10_000
# For anybody who asks whether the server is ready: no names of files.
_NO_KEYS = "The keys cannot be made; the server's log says why."
_TWO_LIFESPANS = (
    "This application is being served already, and its keys end with that lifespan: "
    "serve it once in each process."
)


class ProcessKeys:
    """Where ``ring_of`` finds the keys. For one event loop at a time.

    ``observer`` is told of them.
    """

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        self._ring: KeyRing | None = None
        # Whether there has been one, and whether one goes on.
        self._has_lifespan = False
        self._is_living = False
        # Turns the ring where there is no lifespan.
        self._task: asyncio.Task[None] | None = None
        self._has_warned = False
        self._retry_at: int | None = None

    @contextlib.asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """Make the keys, renew them in time, and drop them at the end of the block.

        Raises:
            ConfigurationError: a file of the settings cannot be used any more, or
                another lifespan of this application goes on.
            KeysUnavailableError: the first key cannot be made.
        """
        if self._is_living:
            raise ConfigurationError(_TWO_LIFESPANS)
        self._is_living = self._has_lifespan = True
        try:
            self._forget_first_use()
            ring = self._made()
            async with rotating(ring):
                self._ring = ring
                yield
        finally:
            self._ring = None
            self._is_living = False

    async def ready(self) -> None:
        """Wait until requests of now are taken: in a fleet that is not at once."""
        if self._settings.fleet_secret_file is not None:
            await pass_the_mark()

    def ring_of(self, scope: Scope) -> KeyRing:
        """Return the key ring.

        Raises:
            KeysUnavailableError: there is none. Its words may be shown to anybody.
        """
        if self._ring is not None and self._has_lifespan:
            return self._ring
        if self._has_lifespan:
            raise KeysUnavailableError("The application's lifespan has ended.")
        return self._of_first_use()

    def _of_first_use(self) -> KeyRing:
        if self._ring is None:
            self._ring = self._made_at_first_use()
        task, loop = self._task, asyncio.get_running_loop()
        if task is None or task.done() or task.get_loop() is not loop:
            # It ends with its loop, which a test or a worker may replace.
            self._task = loop.create_task(rotate_periodically(self._ring))
        return self._ring

    def _made_at_first_use(self) -> KeyRing:
        if self._retry_at is not None and elapsed_ms() < self._retry_at:
            raise KeysUnavailableError(_NO_KEYS)
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "The server does not run this application's lifespan, so its keys were "
                "made with the first request. Problems with them show only now."
            )
        try:
            return self._made()
        except (ConfigurationError, KeysUnavailableError) as error:
            self._retry_at = elapsed_ms() + _RETRY_MS
            logger.error("The keys cannot be made: %s", error)
        raise KeysUnavailableError(_NO_KEYS)

    def _forget_first_use(self) -> None:
        self._ring = None
        if self._task is not None and not self._task.get_loop().is_closed():
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        self._task = None

    def _made(self) -> KeyRing:
        settings = self._settings
        ring = make_key_ring(
            settings, settings.key_refresh_time_s, observer=self._observer
        )
        report_settings(settings, process_identity(settings.identity_key_file))
        return ring
