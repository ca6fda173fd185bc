"""What is in force, said once in vLLM's log when a server starts."""

from __future__ import annotations

import logging

from stainedglass_output_protection.hosting import report
from stainedglass_output_protection.hosting.settings import Settings
from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.vllm.log import join_vllm_logging

TESTED_RELEASES = ("0.32",)

logger = logging.getLogger(__name__)


def report_settings(settings: Settings, identity: IdentityKey) -> None:
    """Log the settings and the identity with the line that pins it. No secrets."""
    join_vllm_logging()
    report.report_settings(settings, identity)


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
