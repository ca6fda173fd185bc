"""What becomes of a request, in one word each: labels of metrics and of log lines."""

from __future__ import annotations

from typing import Final

SEALED: Final = "sealed"
"""Answered whole, and only the client can read it."""
DISCARDED: Final = "discarded"
"""Answered whole, to nobody: it had no key, and the operator discards those answers."""
CLEAR: Final = "clear"
"""Answered whole, in the clear: it had no key, and the operator allows that."""
REFUSED: Final = "refused"
"""Refused by the protection; the code says why."""
FAILED: Final = "failed"
"""The application answered with a 5xx, raised, or stopped short of the end.

Only while its client was there, but for the 5xx.
"""
CUT: Final = "cut"
"""It has no end: the client went away or was given up, or the server stopped."""

OUTCOMES: Final = (SEALED, DISCARDED, CLEAR, REFUSED, FAILED, CUT)
