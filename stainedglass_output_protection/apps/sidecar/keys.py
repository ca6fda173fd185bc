"""The sidecar's keys in a fleet: there from the start, used when the replica may.

It listens meanwhile, so that probes get an answer and a signal ends it at once.
"""

from __future__ import annotations

import logging
from typing import Any

from stainedglass_output_protection.asgi.process_keys import ProcessKeys
from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.hosting.start_barrier import start_mark_ms
from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.observer import Observer

logger = logging.getLogger(__name__)


class SidecarKeys(ProcessKeys):
    """Keys that answer no request before the mark of a fleet's replica has passed."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        super().__init__(settings, observer)
        self._waits = settings.fleet_secret_file is not None

    def not_ready(self) -> str:
        """Return in one sentence how long this replica waits, or nothing."""
        remaining_ms = start_mark_ms() - unix_ms() if self._waits else -1
        if remaining_ms < 0:
            return ""
        return f"Not ready for {remaining_ms // 1000 + 1} s."

    async def ready(self) -> None:
        """Return at once: requests are refused until it is time."""
        if reason := self.not_ready():
            logger.info(
                "%s Until then this replica could not tell requests that an earlier "
                "process has run from new ones.",
                reason,
            )

    def ring_of(self, scope: Any) -> KeyRing:
        """Return the key ring. The key document may be had before the time.

        Raises:
            KeysUnavailableError: there is none, or it may not be used yet.
        """
        reason = self.not_ready()
        if reason and scope["path"] != DOCUMENT_PATH:
            raise KeysUnavailableError(reason)
        return super().ring_of(scope)
