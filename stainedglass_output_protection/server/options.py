"""What the layers of protection are told: names, routes and policies."""

from __future__ import annotations

from dataclasses import dataclass, field

from stainedglass_output_protection.protocol.constants import (
    DEFAULT_CLIENT_KEY_HEADER,
    DEFAULT_CLIENT_KEY_MEMBER,
    DEFAULT_SERVER_KEY_HEADER,
    MAX_SEALED_REQUEST,
)
from stainedglass_output_protection.protocol.routes import RouteTable
from stainedglass_output_protection.server.policy import KeylessPolicy


@dataclass(frozen=True)
class Options:
    """The same for every request of a server.

    ``has_store`` says that the application keeps responses; to requests that are not
    sealed they are refused unless ``allows_stored``. ``requires_sealed`` refuses those
    requests altogether. ``max_sealed_request`` is in bytes, before decoding.
    ``passed_headers`` are headers around a sealed request that the application gets.
    ``max_request_bytes`` is the longest body of a request for a protected route, as it
    came; None is as much as the application takes.
    """

    client_key_header: str = DEFAULT_CLIENT_KEY_HEADER
    client_key_member: str = DEFAULT_CLIENT_KEY_MEMBER
    server_key_header: str = DEFAULT_SERVER_KEY_HEADER
    routes: RouteTable = field(default_factory=RouteTable)
    keyless: KeylessPolicy = KeylessPolicy.REQUIRED
    has_store: bool = True
    allows_stored: bool = False
    requires_sealed: bool = False
    max_sealed_request: int = MAX_SEALED_REQUEST
    passed_headers: frozenset[str] = frozenset()
    max_request_bytes: int | None = None
