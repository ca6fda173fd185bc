"""Putting a wrapper in place of a name in a module: once, and checked."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from stainedglass_output_protection.errors import ConfigurationError

_ORIGINAL = "__output_protection_original__"


def replace(module: ModuleType, name: str, wrap: Callable[[Any], Any]) -> None:
    """Put ``wrap(value)`` in place of the value of ``module.name``, unless it is done.

    Raises:
        ConfigurationError: the module has no such name.
    """
    if not hasattr(module, name):
        raise ConfigurationError(
            f"vLLM's module {module.__name__} has no {name}, so its answers could not "
            "be protected. Use another vLLM, or a newer version of this package."
        )
    current = getattr(module, name)
    if not hasattr(current, _ORIGINAL):
        replacement = wrap(current)
        setattr(replacement, _ORIGINAL, current)
        setattr(module, name, replacement)


def original_of(value: Any) -> Any:
    """Return what ``value`` replaced, or itself if it replaced nothing."""
    return getattr(value, _ORIGINAL, value)


def refusing(door: str) -> Callable[[Any], Callable[..., Any]]:
    """Return a wrapper that makes a callable refuse, because ``door`` is unprotected."""

    def wrap(_: Any) -> Callable[..., Any]:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise ConfigurationError(
                f"{door} would give out answers that this package cannot protect, so "
                "vLLM is not started with it."
            )

        return refuse

    return wrap
