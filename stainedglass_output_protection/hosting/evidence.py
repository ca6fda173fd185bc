"""The operator's function that returns attestation evidence, found by its name."""

from __future__ import annotations

import importlib

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.environment import EVIDENCE_VARIABLE
from stainedglass_output_protection.server.evidence import EvidenceProvider


def load_evidence_provider(name: str | None) -> EvidenceProvider | None:
    """Import what ``name`` (``package.module:function``) names; without a name, nothing.

    Raises:
        ConfigurationError: it cannot be imported, or is no function.
    """
    if name is None:
        return None
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:
        # Not its words: they may be anything, and go to a log.
        problem = f"cannot be imported ({type(error).__name__})"
    else:
        if callable(function):
            provider: EvidenceProvider = function
            return provider
        problem = "is not a function"
    raise ConfigurationError(
        f"{EVIDENCE_VARIABLE}: {name} {problem}. Install its package where the server "
        "runs, or put its folder in PYTHONPATH."
    )
