"""What a server does with a request that offers no client key (``protocol.md#keyless-requests``)."""

from __future__ import annotations

from enum import Enum


class KeylessPolicy(Enum):
    """The operator's choice. ``required`` is the default and the only safe one to ask of."""

    REQUIRED = "required"
    """Refuse it: 400."""
    DISCARD = "discard"
    """Answer it sealed to a key that nobody has: health probes of routers pass."""
    ALLOW = "allow"
    """Answer it in the clear: whoever removes a key on the way then reads the answer."""
