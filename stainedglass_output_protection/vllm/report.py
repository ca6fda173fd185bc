"""What is in force, said once in the log when a server starts."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server.policy import KeylessPolicy
from stainedglass_output_protection.vllm.environment import (
    IDENTITY_VARIABLE,
    variable_of,
)
from stainedglass_output_protection.vllm.identity import MAKE_IDENTITY
from stainedglass_output_protection.vllm.leaks import LEAKS
from stainedglass_output_protection.vllm.log import join_vllm_logging
from stainedglass_output_protection.vllm.settings import (
    Settings,
    setting_warnings,
)

TESTED_RELEASES = ("0.32",)

logger = logging.getLogger(__name__)


def report_settings(settings: Settings, identity: IdentityKey) -> None:
    """Log the settings and the identity with the line that pins it. No secrets."""
    join_vllm_logging()
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


def report_version(vllm_version: str) -> None:
    """Log a warning if this release of vLLM was only ever read, or never seen."""
    join_vllm_logging()
    if not vllm_version.startswith(tuple(f"{item}." for item in TESTED_RELEASES)):
        logger.warning(
            "vLLM %s is not a release that this package was run with (%s). It has the "
            "structure that protection needs, so it is served.",
            vllm_version,
            ", ".join(TESTED_RELEASES),
        )


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
