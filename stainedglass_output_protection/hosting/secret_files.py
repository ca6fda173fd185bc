"""Reads a secret file that a setting names, or says in one sentence what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.private_files import (
    SharedFileError,
    read_private_file,
)

_Content = TypeVar("_Content")


def read_secret_file(
    path: Path, parse: Callable[[bytes], _Content], *, name: str, advice: str
) -> _Content:
    """Return what ``parse`` makes of a file. ``name`` is what an error begins with.

    ``advice`` is where to get the file from, if it is missing or no such file.

    Raises:
        ConfigurationError: it cannot be read, others can read it, or ``parse`` says so.
    """
    try:
        return parse(read_private_file(path))
    except OSError as error:
        reason = f"cannot be read ({error.strerror}). Check the path, or the mount. "
        reason += advice
    except SharedFileError as error:
        reason = str(error)
    except ConfigurationError as error:
        reason = f"is refused: {str(error).rstrip('.')}. {advice}"
    raise ConfigurationError(f"{name}: the file {path} {reason}")
