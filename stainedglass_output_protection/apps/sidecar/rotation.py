"""New epoch keys when the sidecar gets SIGUSR1, as with ``sg-vllm serve``."""

from __future__ import annotations

import logging

from stainedglass_output_protection.hosting.environment import (
    hand_epoch_table_to_children,
    hand_replay_store_to_children,
    mark_for_children,
)
from stainedglass_output_protection.hosting.private_files import (
    make_private_file,
    make_private_folder,
)
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epoch_table import Table
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.rotation_signal import rotate_on_signal
from stainedglass_output_protection.server.shared_epochs import SharedEpochs

logger = logging.getLogger(__name__)


def heed_rotation_signal(settings: Settings) -> None:
    """Rotate on SIGUSR1 from now on. The signal has to be blocked already.

    Call it before the key ring is made: it says where that finds its epochs.
    """
    if settings.fleet_secret_file is not None:
        rotate_on_signal(
            lambda: logger.warning(
                "SIGUSR1: no new keys. In a fleet the clock says when they come, or "
                "replicas would differ. To end what its file can open, run: "
                "sg-vllm keys advance %s",
                settings.fleet_secret_file,
            )
        )
        return
    path = make_private_file("epochs", Table().encode())
    # What is in these variables counts only where the mark is set.
    mark_for_children()
    hand_epoch_table_to_children(path)
    hand_replay_store_to_children(make_private_folder() / "replay")
    period_ms = max(1, round(settings.key_refresh_time_s * 1000))
    epochs = SharedEpochs(path, EpochTimes(period_ms, settings.key_overlap_epochs))

    def rotate() -> None:
        epochs.add(unix_ms())
        logger.info("SIGUSR1: new epoch keys. The sidecar answers by them in 1 s.")

    rotate_on_signal(rotate)
