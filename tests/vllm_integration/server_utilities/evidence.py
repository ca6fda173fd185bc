"""An operator's provider of evidence that fails once, for row 13."""

from __future__ import annotations

import itertools

# Words that a provider's error may have, and no log may.
WORDS = "Thistlewick-token"
_calls = itertools.count(1)


def fails_once(digest: bytes) -> bytes:
    """Return evidence for a digest, but for the third time."""
    if next(_calls) == 3:
        raise ConnectionError(WORDS)
    return b"evidence for " + digest
