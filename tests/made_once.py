"""What tests need under ``.cache`` and take long to make: made by one run, for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

CACHE = Path(__file__).parents[1] / ".cache"


def made_once(folder: Path, make: Callable[[], None]) -> Path:
    """Return ``folder``, which ``make`` fills if it is not whole.

    Of several runs of the tests at the same time one makes it, and the others wait for
    it. What one left half made, the next one makes: ``make`` must bear what it finds.
    """
    complete = folder / "complete"
    if not complete.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside it: the folder may be emptied while it is made.
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if not complete.exists():
                make()
                complete.touch()
    return folder
