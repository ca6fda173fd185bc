"""What is done when an operator asks for new epoch keys, by SIGUSR1."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from stainedglass_output_protection.hosting.keys import epoch_times
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.shared_epochs import SharedEpochs

logger = logging.getLogger(__name__)


def rotation(
    settings: Settings, path: Path | None, *, who_answers: str
) -> Callable[[], None]:
    """Return what adds an epoch to the file at ``path``.

    Without one, in a fleet, it says what to do instead. ``who_answers`` is for the log:
    "The sidecar answers".
    """
    if path is None:
        return lambda: logger.warning(
            "SIGUSR1: no new keys. In a fleet the clock says when they come, or replicas "
            "would differ. To end what its file can open, run: sg-vllm keys advance %s",
            settings.fleet_secret_file,
        )
    times = epoch_times(settings, settings.key_refresh_time_s)
    epochs = SharedEpochs(path, times)

    def rotate() -> None:
        epochs.add(unix_ms())
        logger.info("SIGUSR1: new epoch keys. %s by them in 1 s.", who_answers)

    return rotate
