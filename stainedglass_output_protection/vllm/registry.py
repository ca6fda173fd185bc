"""The key registry under its documented names.

It is shared by everything in one process and by nothing across processes: each API
server knows its own requests only. It holds client public keys and no secret.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from stainedglass_output_protection.server.registry import SHARED_REGISTRY


def get_shared_registry() -> MutableMapping[str, bytes | None]:
    """Return the process's one registry: request id to client public key."""
    return SHARED_REGISTRY


def remove_key(request_id: str) -> None:
    """Replace a request's key by the sentinel None now; the entry goes 60 s later.

    Does nothing for an unknown request.
    """
    SHARED_REGISTRY.remove(request_id)
