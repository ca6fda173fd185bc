"""Finds the class of HTTP client that the program's SDK wants."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from typing import Any

from stainedglass_output_protection.errors import ConfigurationError, UsageError

_LIBRARIES = ("httpx2", "httpx")
_SDKS = ("openai", "anthropic")


def client_class_for(library: str | None, *, is_async: bool) -> type[Any]:
    """Return the class of client to make: an SDK's own, or that of an HTTP library.

    The SDK is the one that the program has imported, or else the first that is
    installed; ``library`` decides where two of them are built on different libraries.

    Raises:
        ConfigurationError: there is no such library.
        ImportError: no HTTP library is installed, or not the one that is asked for, or
            the SDK is too old.
        UsageError: two SDKs want different libraries, and ``library`` is not given.
    """
    if library is not None and library not in _LIBRARIES:
        raise ConfigurationError("library must be 'httpx2' or 'httpx'.")
    classes = _classes_of(_sdks(), is_async=is_async)
    if library is None:
        if len({library_of(made) for made in classes.values()}) > 1:
            raise _different_libraries(classes)
        made = next(iter(classes.values()), None)
    else:
        fitting = (made for made in classes.values() if library_of(made) == library)
        made = next(fitting, None)
    return made or plain_client_class(library, is_async=is_async)


def plain_client_class(library: str | None = None, *, is_async: bool) -> type[Any]:
    """Return a library's own class of client, whatever SDK is installed.

    Raises:
        ImportError: no HTTP library is installed, or not the one that is asked for.
    """
    module = _import_first(_LIBRARIES if library is None else (library,))
    if module is None:
        raise ImportError(
            f"The client needs {library or 'httpx2 or httpx'}: pip install "
            + (library or "'.[client]' in the checkout of this package")
        )
    made: type[Any] = module.AsyncClient if is_async else module.Client
    return made


def library_of(client_class: type[Any]) -> str:
    """Return the name of the HTTP library that a class of client is built on."""
    return next(
        root
        for base in client_class.__mro__
        if (root := base.__module__.partition(".")[0]) in _LIBRARIES
    )


def _sdks() -> list[Any]:
    imported = [sys.modules[name] for name in _SDKS if sys.modules.get(name)]
    if imported:
        return imported
    installed = _import_first(_SDKS)
    return [] if installed is None else [installed]


def _classes_of(sdks: list[Any], *, is_async: bool) -> dict[str, type[Any]]:
    """Return each SDK's class of client, by the SDK's name and version."""
    name = "DefaultAsyncHttpxClient" if is_async else "DefaultHttpxClient"
    titles = [f"{sdk.__name__} {sdk.__version__}" for sdk in sdks]
    classes = {
        title: getattr(sdk, name)
        for title, sdk in zip(titles, sdks, strict=True)
        if hasattr(sdk, name)
    }
    if titles and not classes:
        raise ImportError(f"{titles[0]} is too old: it has no {name}.")
    return classes


def _different_libraries(classes: dict[str, type[Any]]) -> UsageError:
    wishes = ", ".join(
        f"{sdk} is for {library_of(made)}" for sdk, made in classes.items()
    )
    return UsageError(
        f"This program has SDKs for different HTTP libraries ({wishes}). Say which one "
        "this client is for: library='httpx' or library='httpx2'."
    )


def _import_first(names: Iterable[str]) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None
