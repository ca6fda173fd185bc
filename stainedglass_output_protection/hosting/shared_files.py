"""What the processes of one server share: their epochs and their replay store."""

from __future__ import annotations

from pathlib import Path

from stainedglass_output_protection.hosting.environment import (
    hand_epoch_table_to_children,
    hand_replay_store_to_children,
)
from stainedglass_output_protection.hosting.private_files import (
    make_private_file,
    make_private_folder,
)
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.server.epoch_table import Table


def hand_down_shared_files(settings: Settings) -> Path | None:
    """Make what this process and its children share; all of it goes with this one.

    They look for it only where ``mark_for_children`` has been called. Return the file
    with their epochs, if they have epochs of their own.
    """
    in_fleet = settings.fleet_secret_file is not None
    epochs = None if in_fleet else make_private_file("epochs", Table().encode())
    hand_epoch_table_to_children(epochs)
    hand_replay_store_to_children(make_private_folder() / "replay")
    return epochs
