"""What others wrote, made fit for a terminal."""

from __future__ import annotations

_MOST = 60


def shown(text: object, most: int = _MOST) -> str:
    """Return the start of ``text`` in printable ASCII, everything else as ``?``."""
    said = str(text)
    cut = said if len(said) <= most else f"{said[: most - 3]}..."
    return "".join(it if it.isascii() and it.isprintable() else "?" for it in cut)


def listed(names: list[str]) -> str:
    """Return a few of these words, for a sentence."""
    few = [shown(name) for name in names[:5]]
    return ", ".join(few) + (" and more" if len(names) > len(few) else "")
