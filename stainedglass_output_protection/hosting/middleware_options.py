"""What the settings tell the protection: its options, and where it keeps what it saw."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from stainedglass_output_protection.hosting.environment import replay_store_path
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.hosting.start_barrier import start_mark_ms
from stainedglass_output_protection.protocol.routes import RouteTable
from stainedglass_output_protection.server.options import Options
from stainedglass_output_protection.server.replay_store import ReplayStore

_REQUESTS_REMEMBERED = 1_000_000
# In the replay store's file, its log included: measured, with some to spare.
_BYTES_OF_A_REQUEST = 200


def options_of(
    settings: Settings, *, has_store: bool, adds_members: bool = True
) -> Options:
    """Return what the protection is told by the operator's settings.

    ``has_store`` says whether the engine keeps responses, ``adds_members`` whether it
    takes the members by which vLLM knows an owner.
    """
    return Options(
        client_key_header=settings.client_public_key_header_name,
        client_key_member=settings.client_key_member_name,
        server_key_header=settings.server_public_key_header_name,
        routes=RouteTable(
            protected=settings.protected_routes,
            clear=settings.clear_routes,
            shows_transfer="kv-transfer" in settings.allow_leaks,
            adds_members=adds_members,
        ),
        keyless=settings.keyless_requests,
        has_store=has_store,
        allows_stored="stored-responses" in settings.allow_leaks,
        requires_sealed=settings.require_sealed_requests,
        max_sealed_request=settings.max_sealed_request_bytes,
        passed_headers=settings.passed_headers,
    )


def replay_store_maker(settings: Settings) -> Callable[[], ReplayStore]:
    """Return what opens the replay store that all processes of this server share."""
    # Keys of a fleet outlive this process, and with them what it has seen.
    has_lasting_keys = settings.fleet_secret_file is not None
    mark_ms = start_mark_ms() if has_lasting_keys else 0
    path = replay_store_path()
    capacity = _REQUESTS_REMEMBERED
    if path is not None:
        # It must never fill its file system, which may be a small one in memory.
        room = shutil.disk_usage(path.parent).total // 4
        capacity = min(capacity, max(1, room // _BYTES_OF_A_REQUEST))
    return lambda: ReplayStore(path, capacity=capacity, mark_ms=mark_ms)
