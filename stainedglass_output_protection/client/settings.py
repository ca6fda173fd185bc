"""What the client takes from the environment. No other client module reads it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.constants import (
    DEFAULT_CLIENT_KEY_HEADER,
    DEFAULT_CLIENT_KEY_MEMBER,
)
from stainedglass_output_protection.protocol.identity import parse_pins

IDENTITY_VARIABLE = "SG_SERVER_IDENTITY"
CLIENT_KEY_HEADER_VARIABLE = "SG_CLIENT_PUBLIC_KEY_HEADER_NAME"
CLIENT_KEY_MEMBER_VARIABLE = "SG_CLIENT_KEY_MEMBER_NAME"


@dataclass(frozen=True)
class ClientSettings:
    """What one client is told.

    ``pins`` are the fingerprints it accepts (None: no pin); the names are those of the
    header and of the body's member that carry the client key; ``asks_opaque`` asks for
    answers in container ``opaque``.
    """

    pins: frozenset[str] | None = None
    client_key_header: str = DEFAULT_CLIENT_KEY_HEADER
    client_key_member: str = DEFAULT_CLIENT_KEY_MEMBER
    asks_opaque: bool = False

    @classmethod
    def load(
        cls,
        identity: str | Iterable[str] | None = None,
        *,
        asks_opaque: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> ClientSettings:
        """Return the settings; an ``identity`` given here wins over the environment.

        Raises:
            ConfigurationError: a pinned identity is not a fingerprint, or the set of
                them is empty.
        """
        variables = os.environ if environment is None else environment
        if identity is None:
            identity = variables.get(IDENTITY_VARIABLE)
            if identity is not None and not identity.strip():
                raise ConfigurationError(
                    f"{IDENTITY_VARIABLE} is set but empty, which would pin nothing. "
                    "Set it to the server's fingerprint, or unset it."
                )
        header = variables.get(CLIENT_KEY_HEADER_VARIABLE, "").strip().lower()
        member = variables.get(CLIENT_KEY_MEMBER_VARIABLE, "").strip()
        return cls(
            pins=None if identity is None else parse_pins(identity),
            client_key_header=header or DEFAULT_CLIENT_KEY_HEADER,
            client_key_member=member or DEFAULT_CLIENT_KEY_MEMBER,
            asks_opaque=asks_opaque,
        )
