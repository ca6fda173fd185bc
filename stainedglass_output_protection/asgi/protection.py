"""The one public call of this layer."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from starlette.applications import Starlette
from starlette.types import ASGIApp

from stainedglass_output_protection.asgi.parts import Parts
from stainedglass_output_protection.asgi.protected_app import ProtectedApp
from stainedglass_output_protection.asgi.starlette_app import protect_in_place
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting.evidence import load_evidence_provider
from stainedglass_output_protection.hosting.settings import load_settings
from stainedglass_output_protection.server.observer import Observer

_App = TypeVar("_App", bound=Starlette)


@overload
def protect(
    app: _App,
    *,
    keeps_responses: bool = True,
    adds_members: bool = True,
    observer: Observer | None = None,
    **settings: Any,
) -> _App: ...


@overload
def protect(
    app: ASGIApp,
    *,
    keeps_responses: bool = True,
    adds_members: bool = True,
    observer: Observer | None = None,
    **settings: Any,
) -> ProtectedApp: ...


def protect(
    app: Any,
    *,
    keeps_responses: bool = True,
    adds_members: bool = True,
    observer: Observer | None = None,
    **settings: Any,
) -> Any:
    """Return ``app`` so that its answers are sealed to the one who asks.

    A Starlette or FastAPI application is changed in place, inside of its middleware,
    and returned. Any other ASGI application is wrapped: give it here before anything
    else is put around it, for what is inside sees answers in the clear.

    ``settings`` are those of the ``SG_`` variables, by their names in lower case and
    without ``SG_``; they count before the environment. ``keeps_responses`` says that
    the engine keeps responses for later: clear requests that would make or fetch one
    are refused then. ``adds_members`` says that the engine takes ``cache_salt`` and
    ``request_id``, which are added to sealed requests, or ignores them; one that
    refuses what it does not know shares its cache of prefixes among all clients.

    ``observer`` is told of requests and keys; None counts them in
    ``prometheus_client``'s own registry, which the application has to show.

    Keys live with the application's lifespan. If the server runs none, they are made
    with the first request.

    Raises:
        ConfigurationError: a setting is bad, the application is protected already, or
            the folder in which processes share metrics cannot be used.
    """
    loaded = load_settings(**settings)
    load_evidence_provider(loaded.evidence_provider)
    if isinstance(app, ProtectedApp):
        raise ConfigurationError("This application is protected already.")
    parts = Parts(
        loaded,
        keeps_responses=keeps_responses,
        adds_members=adds_members,
        observer=_on_the_registry_of_all() if observer is None else observer,
    )
    if isinstance(app, Starlette):
        protect_in_place(app, parts)
        return app
    return ProtectedApp(app, parts)


def _on_the_registry_of_all() -> Observer:
    # Not sooner: it is decided at its import whether processes share their numbers.
    from stainedglass_output_protection.server.metrics import prometheus_observer

    return prometheus_observer()
