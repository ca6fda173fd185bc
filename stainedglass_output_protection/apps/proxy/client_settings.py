"""What the proxy's options and variables choose for the client layer."""

from __future__ import annotations

from typing import Any

from stainedglass_output_protection.client.known_servers_file import KnownServersFile
from stainedglass_output_protection.client.settings import ClientSettings
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.protocol.constants import PROFILE_SEALED


def client_settings_from(options: dict[str, Any]) -> ClientSettings:
    """Return what the client layer is told; the environment's is the default.

    Raises:
        ConfigurationError: an option or variable is wrong, or two do not fit.
    """
    settings = ClientSettings.load(
        options["identities"] or None,
        profile=options["profile"],
        asks_opaque=options["opaque"],
        suite=options["suite"],
        trust_on_first_use=options["trust_on_first_use"],
        owner_file=options["owner_file"],
        expose=options["expose"],
        seal_authorization=options["seal_authorization"],
    )
    is_sealed = settings.profile == PROFILE_SEALED
    if is_sealed and settings.pins is None and not settings.trusts_first_use:
        raise ConfigurationError(
            "The server is not known: give --identity with the fingerprint that it "
            "prints when it starts, or set SG_SERVER_IDENTITY. Or trust whoever answers "
            "first, with --trust-on-first-use."
        )
    if settings.seals_authorization and not is_sealed:
        raise ConfigurationError(
            "--seal-authorization (SG_SEAL_AUTHORIZATION) needs sealed requests: choose "
            "--profile sealed, or leave it out."
        )
    if settings.trusts_first_use and settings.known_servers is not None:
        # Now, and not with the first request.
        try:
            KnownServersFile.read(settings.known_servers)
        except OSError as error:
            raise ConfigurationError(
                f"The file of known servers, {settings.known_servers}, cannot be read "
                f"({error.strerror}). Mend that, or pin the server with --identity."
            ) from None
    return settings
