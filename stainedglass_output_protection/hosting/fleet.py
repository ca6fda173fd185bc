"""The file with the fleet's secret: read it, and move its base epoch on in place."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.environment import FLEET_VARIABLE
from stainedglass_output_protection.hosting.private_files import (
    SharedFileError,
    open_private_file,
)
from stainedglass_output_protection.hosting.secret_files import read_secret_file
from stainedglass_output_protection.protocol.ratchet import Ratchet
from stainedglass_output_protection.server.fleet_secret import (
    MAGIC,
    FleetSecret,
    FleetText,
    parse_fleet_text,
)

MAKE_FLEET: Final = "Make one: sg-vllm keys generate --fleet FILE"
_MAX_FILE_SIZE = 16 * 1024

_WHICH = "It must be the same file as on the other replicas. A new fleet has none yet. "


def read_fleet_file(path: Path, *, name: str = FLEET_VARIABLE) -> FleetText:
    """Return what the fleet's file holds. ``name`` is what an error begins with.

    Raises:
        ConfigurationError: it cannot be read, others can read it, or it is no such file.
    """
    if MAGIC.decode("ascii").strip() in str(path):
        # Never show it: it is the secret.
        raise ConfigurationError(
            f"{name} holds a secret itself. Set it to the path of a file that holds it."
        )
    advice = _WHICH + MAKE_FLEET
    return read_secret_file(path, parse_fleet_text, name=name, advice=advice)


def advance_fleet_file(path: Path, now_ms: int) -> tuple[FleetSecret, FleetSecret]:
    """Move the base epoch to the oldest that has not retired; return both, old first.

    The file keeps its inode and its size. Each slot is written and synced in turn, so
    that a crash leaves one that is whole, and the next call finishes. Nothing can undo
    it. The clock must be right: what it says has retired cannot be had again.

    Raises:
        ConfigurationError: the file is refused, in use by another call, or cannot be
            written; the secret is still there.
    """
    with _locked(path) as descriptor:
        try:
            found = parse_fleet_text(os.pread(descriptor, _MAX_FILE_SIZE, 0))
        except ConfigurationError as error:
            raise _refused(path, str(error)) from None
        fleet = found.fleet
        ratchet = Ratchet(fleet.index, fleet.secret)
        ratchet.skip_to(fleet.oldest_live_at(now_ms))
        if ratchet.index > fleet.index or not found.is_settled:
            _replace_slots(descriptor, found, ratchet)
    moved = FleetSecret(fleet.anchor_ms, fleet.times, ratchet.index, ratchet.reveal())
    return fleet, moved


def _replace_slots(descriptor: int, found: FleetText, ratchet: Ratchet) -> None:
    slot = found.slot_for(ratchet.index, ratchet.reveal())
    # The slot that was read goes last: it is whole until the other one is.
    for number in (1 - found.newest, found.newest):
        if os.pwrite(descriptor, slot, found.slots[number]) != len(slot):
            raise OSError("a short write")
        os.fsync(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    try:
        descriptor = open_private_file(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield descriptor
        finally:
            os.close(descriptor)
    except BlockingIOError:
        reason = "another command is changing it. Try again."
    except SharedFileError as error:
        reason = f"it {error}"
    except OSError as error:
        reason = f"it cannot be changed ({error.strerror or error})."
    else:
        return
    raise _refused(path, reason)


def _refused(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"The file {path} was not changed: {reason}")
