"""Says which variables look like ours and are read by nothing: likely typos.

The server has its own such check; commands of clients cannot import it.
"""

from __future__ import annotations

import difflib
import os
from typing import Final

import click

_PREFIX: Final = "SG_"
# Kubernetes injects SG_VLLM_SERVICE_HOST and others for a service called sg-vllm.
_IGNORED_PREFIX: Final = "SG_VLLM_"
NAMES: Final = (
    # Of the server.
    "SG_ALLOW_LEAKS",
    "SG_CLEAR_ROUTES",
    "SG_CLIENT_KEY_MEMBER_NAME",
    "SG_CLIENT_PUBLIC_KEY_HEADER_NAME",
    "SG_EVIDENCE_PROVIDER",
    "SG_FLEET_SECRET_FILE",
    "SG_IDENTITY_KEY_FILE",
    "SG_KEYLESS_REQUESTS",
    "SG_KEY_OVERLAP_EPOCHS",
    "SG_KEY_REFRESH_TIME_S",
    "SG_MAX_SEALED_REQUEST_BYTES",
    "SG_PASSED_HEADERS",
    "SG_PROTECTED_ROUTES",
    "SG_REQUIRE_SEALED_REQUESTS",
    "SG_SEALED_AUTHORIZATION",
    "SG_SERVER_PUBLIC_KEY_HEADER_NAME",
    # Of clients.
    "SG_CLIENT_PROFILE",
    "SG_KNOWN_SERVERS_FILE",
    "SG_OWNER_SECRET_FILE",
    "SG_REQUEST_SUITE",
    "SG_SEAL_AUTHORIZATION",
    "SG_SERVER_IDENTITY",
    "SG_TRUST_ON_FIRST_USE",
    # Of commands.
    "SG_PROXY_TOKEN",
    "SG_RECOVERY_TOKEN",
    "SG_UPSTREAM_API_KEY",
)
# What the server leaves for its child processes, in which commands may be run.
_INTERNAL: Final = (
    "SG_PROTECT_EVERY_SERVER",
    "SG_SHARED_EPOCHS_FILE",
    "SG_SHARED_REPLAY_FILE",
)


def unknown_variables() -> list[str]:
    """Return one sentence for each ``SG_`` name in the environment that nothing reads."""
    sentences = []
    for name in sorted(os.environ):  # noqa: TID251 - names, and no value
        if not name.startswith(_PREFIX) or name.startswith(_IGNORED_PREFIX):
            continue
        if name not in NAMES and name not in _INTERNAL:
            nearest = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.0)[0]
            sentences.append(
                f"{name} is not a setting and has no effect; the nearest is {nearest}."
            )
    return sentences


def warn_of_unknown_variables() -> None:
    """Print those sentences, once, when a command begins."""
    for sentence in unknown_variables():
        click.echo(f"sg-vllm: {sentence}", err=True)
