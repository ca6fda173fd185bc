"""New epoch keys when the sidecar gets SIGUSR1, as with ``sg-vllm serve``."""

from __future__ import annotations

from stainedglass_output_protection.hosting.environment import mark_for_children
from stainedglass_output_protection.hosting.rotation import rotation
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.hosting.shared_files import hand_down_shared_files
from stainedglass_output_protection.server.rotation_signal import rotate_on_signal


def heed_rotation_signal(settings: Settings) -> None:
    """Rotate on SIGUSR1 from now on. The signal has to be blocked already.

    Call it before the key ring is made: it says where that finds its epochs.
    """
    epochs = None
    if settings.fleet_secret_file is None:
        mark_for_children()
        epochs = hand_down_shared_files(settings)
    rotate_on_signal(rotation(settings, epochs, who_answers="The sidecar answers"))
