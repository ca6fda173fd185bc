"""The key ring that the settings ask for, and the task that turns it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from stainedglass_output_protection.hosting.environment import epoch_table_path
from stainedglass_output_protection.hosting.evidence import load_evidence_provider
from stainedglass_output_protection.hosting.fleet import read_fleet_file
from stainedglass_output_protection.hosting.identity import process_identity
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epochs import EpochSource, EpochTimes
from stainedglass_output_protection.server.fleet_epochs import FleetEpochs
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.observer import Observer
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from stainedglass_output_protection.server.rotation import rotate_periodically
from stainedglass_output_protection.server.shared_epochs import SharedEpochs


def make_key_ring(
    settings: Settings, period: float, *, observer: Observer | None = None
) -> KeyRing:
    """Return a key ring that has its first key; a new one comes each ``period`` seconds.

    The caller must turn it in time, as ``rotating`` does. ``observer`` is told of its
    keys; None is the process's.

    Raises:
        ConfigurationError: a setting is bad.
        KeysUnavailableError: the first key cannot be made.
    """
    ring = KeyRing(
        process_identity(settings.identity_key_file),
        _epoch_source(settings, period),
        evidence=load_evidence_provider(settings.evidence_provider),
        observer=observer,
    )
    ring.tick(unix_ms())
    return ring


@contextlib.asynccontextmanager
async def rotating(ring: KeyRing) -> AsyncIterator[None]:
    """Turn ``ring`` with time for as long as the block lasts."""
    task = asyncio.create_task(rotate_periodically(ring))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def epoch_times(settings: Settings, period: float) -> EpochTimes:
    """Return the times of epochs that no fleet's file sets; ``period`` in seconds."""
    return EpochTimes(max(1, round(period * 1000)), settings.key_overlap_epochs)


def _epoch_source(settings: Settings, period: float) -> EpochSource:
    """Return where this process's epochs come from; a fleet's file has its own period."""
    if settings.fleet_secret_file is not None:
        fleet = read_fleet_file(settings.fleet_secret_file).fleet
        return FleetEpochs(fleet, unix_ms())
    times = epoch_times(settings, period)
    shared = epoch_table_path()
    return OwnEpochs(times) if shared is None else SharedEpochs(shared, times)
