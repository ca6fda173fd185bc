"""Attestation evidence for an epoch, from the operator's own function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stainedglass_output_protection.errors import KeysUnavailableError

# Given the digest of a statement (32 bytes), returns evidence that has it as report data.
EvidenceProvider = Callable[[bytes], bytes]

MAX_EVIDENCE: Final = 64 * 1024


def evidence_for(digest: bytes, provider: EvidenceProvider) -> bytes:
    """Return the evidence for a statement's digest.

    Raises:
        KeysUnavailableError: the provider raised, or did not return 1 to 65536 bytes.
    """
    try:
        evidence: object = provider(digest)
        problem = "did not return 1 to 65536 bytes"
    except Exception as error:
        evidence = None
        problem = f"raised {type(error).__name__}"
    # Outside of the handler: its words may be anything, and nobody shall log them.
    if isinstance(evidence, bytes) and 1 <= len(evidence) <= MAX_EVIDENCE:
        return evidence
    raise KeysUnavailableError(f"SG_EVIDENCE_PROVIDER: the function {problem}.")
