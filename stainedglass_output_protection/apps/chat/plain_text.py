"""Makes text that others wrote safe to print, on a terminal or elsewhere."""

from __future__ import annotations

import io
import re
import sys

# Whole sequences go, so that little of them is left to read.
_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
)
# Whatever is left: every control character but line feed and tab, and the marks that
# let text be read in another order than it stands in.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain_text(text: str) -> str:
    """Return ``text`` without what a terminal would obey.

    Pieces of a stream may be given one by one: a sequence that is cut in two loses its
    escape character, and the rest of it is shown.
    """
    return _CONTROL.sub("", _ESCAPE_SEQUENCE.sub("", text))


def print_what_can_be_printed() -> None:
    """Make a question mark of each character that standard output has no code for."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
