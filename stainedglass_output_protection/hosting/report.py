"""What is in force, said once in the log when a server starts."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

from stainedglass_output_protection.hosting.environment import (
    IDENTITY_VARIABLE,
    variable_of,
)
from stainedglass_output_protection.hosting.identity import MAKE_IDENTITY
from stainedglass_output_protection.hosting.leaks import LEAKS
from stainedglass_output_protection.hosting.settings import (
    Settings,
    setting_warnings,
)
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.policy import KeylessPolicy

logger = logging.getLogger(__name__)


def report_settings(settings: Settings, identity: IdentityKey) -> None:
    """Log the settings and the identity with the line that pins it. No secrets."""
    for warning in setting_warnings():
        logger.warning("%s", warning)
    for name in sorted(settings.allow_leaks):
        logger.warning(
            "%s allows %s: %s.", variable_of("allow_leaks"), name, LEAKS[name]
        )
    logger.info("Output protection settings:\n%s", settings.describe())
    for warning in _warnings_of(settings):
        logger.warning("%s", warning)
    if settings.identity_key_file is None:
        logger.warning(
            "%s is not set: this identity was made for this run and ends with it. %s",
            IDENTITY_VARIABLE,
            MAKE_IDENTITY,
        )
    shown = (
        f"The server's identity is {identity.fingerprint}\n"
        f"Clients pin it with: SG_SERVER_IDENTITY={identity.fingerprint}"
    )
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s", shown)
    else:
        # Without it nobody can pin this server, whatever the log's level.
        print(shown, file=sys.stderr)


def _warnings_of(settings: Settings) -> Iterator[str]:
    """Yield what an operator must not overlook."""
    keyless = f"{variable_of('keyless_requests')}={settings.keyless_requests.value}"
    if settings.keyless_requests is KeylessPolicy.ALLOW:
        yield (
            f"{keyless}: requests without a key are answered in the clear. Set it back "
            "to required when every client has a key."
        )
    if settings.keyless_requests is KeylessPolicy.DISCARD:
        yield (
            f"{keyless}: requests without a key run on the engine, and nobody can read "
            "the answers."
        )
    if settings.clear_routes:
        paths = ", ".join(sorted(settings.clear_routes))
        yield (
            f"{variable_of('clear_routes')}: answers of {paths} leave in the clear, for "
            "every method."
        )
