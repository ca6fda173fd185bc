"""How far two payloads agree (``protocol.md#shared-prefix``)."""

from __future__ import annotations


def common_prefix(left: bytes, right: bytes) -> int:
    """Return the length of the common prefix, by halving: this is on the hot path."""
    if right.startswith(left):
        return len(left)
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
