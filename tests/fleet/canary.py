"""Finds what the light engine says, in bytes that should hold nothing of it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.fleet.engine import CANARY
from tests.vllm_integration.leaks import _patterns

_FORMS = [(form, re.compile(pattern)) for form, pattern in _patterns(CANARY)]


def forms_in(*data: bytes | str | Iterable[bytes]) -> set[str]:
    """Return the forms in which the canary is in any of ``data``."""
    found = set()
    for item in data:
        text = item.encode() if isinstance(item, str) else item
        joined = text if isinstance(text, bytes) else b"\n".join(text)
        found |= {form for form, pattern in _FORMS if pattern.search(joined)}
    return found
