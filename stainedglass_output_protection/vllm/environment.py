"""What of the environment is vLLM's own: its plugins, and what it was told to keep.

What is ours is in ``hosting.environment``.
"""

from __future__ import annotations

import os

from stainedglass_output_protection.hosting import environment

PLUGIN_NAME = "stainedglass_output_protection"

_VLLM_PLUGINS = "VLLM_PLUGINS"


def mark_for_children() -> None:
    """Make child processes protect every API server, whatever plugins they load.

    A set ``VLLM_PLUGINS`` gets our name appended. An unset one stays unset: it is one
    allow-list for all kinds of plugins, and setting it would switch off the others.
    """
    environment.mark_for_children()
    environ = os.environ
    listed = environ.get(_VLLM_PLUGINS)
    if listed is not None and PLUGIN_NAME not in listed.split(","):
        environ[_VLLM_PLUGINS] = f"{listed},{PLUGIN_NAME}" if listed else PLUGIN_NAME


def has_responses_store() -> bool:
    """Tell whether vLLM was told to keep responses; any word but none and 0 tells it."""
    return os.environ.get("VLLM_ENABLE_RESPONSES_API_STORE", "0") not in ("", "0")
