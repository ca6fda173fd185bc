"""The server's epoch keys in a FastAPI application's life, under documented names."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.types import Scope

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.hosting.keys import make_key_ring, rotating
from stainedglass_output_protection.hosting.settings import load_settings
from stainedglass_output_protection.hosting.start_barrier import pass_the_mark
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.rotation import rotate_periodically

if TYPE_CHECKING:
    import fastapi

    from stainedglass_output_protection.vllm.middleware import BuildAppFunc

Lifespan: TypeAlias = Callable[
    ["fastapi.FastAPI"], contextlib.AbstractAsyncContextManager[Any]
]

_STATE_NAME = "output_protection_key_ring"
_MARK = "output_protection_keys"


def ephemeral_key_lifespan_factory(
    refresh_time: float,
) -> Callable[[Lifespan], Lifespan]:
    """Return a wrapper that adds epoch keys, renewed in time, to a lifespan.

    The first key exists before the wrapped lifespan begins, so before any request.
    ``refresh_time`` is in seconds; with a fleet's secret, its file says the period.

    The wrapped lifespan raises:
        ConfigurationError: a setting is bad.
        KeysUnavailableError: the first key cannot be made.
    """

    def wrap(lifespan: Lifespan) -> Lifespan:
        @contextlib.asynccontextmanager
        async def key_lifespan(app: fastapi.FastAPI) -> AsyncIterator[Any]:
            ring = _install_ring(app, refresh_time)
            # From here on only the ring is used: vLLM's lifespan deletes ``app.state``.
            async with rotating(ring), lifespan(app) as state:
                if load_settings().fleet_secret_file is not None:
                    await pass_the_mark()
                yield state

        return key_lifespan

    return wrap


def inject_key_lifespan(
    build_app_func: BuildAppFunc, key_refresh_time_s: float
) -> BuildAppFunc:
    """Return ``build_app_func`` with the key lifespan added to its app.

    Whatever the function is called with is forwarded. Doing it twice adds one.
    """

    @functools.wraps(build_app_func)
    def build_app(*args: Any, **kwargs: Any) -> fastapi.FastAPI:
        app = build_app_func(*args, **kwargs)
        add_key_lifespan(app, key_refresh_time_s)
        return app

    return build_app


async def periodic_refresh(app: fastapi.FastAPI, period: float) -> None:
    """Renew the epoch key of ``app`` every ``period`` seconds, until cancelled.

    Makes the first key at once if the app has none.
    """
    ring = getattr(app.state, _STATE_NAME, None) or _install_ring(app, period)
    await rotate_periodically(ring)


def add_key_lifespan(app: fastapi.FastAPI, refresh_time: float) -> None:
    """Add the key lifespan to an app that is already built, once."""
    if not has_key_lifespan(app):
        wrap = ephemeral_key_lifespan_factory(refresh_time)
        app.router.lifespan_context = wrap(app.router.lifespan_context)
        # Not on the function: FastAPI wraps it anew in each ``include_router``.
        setattr(app, _MARK, True)


def has_key_lifespan(app: Any) -> bool:
    """Tell whether the key lifespan was added to the app."""
    return hasattr(app, _MARK)


def ring_of(scope: Scope) -> KeyRing:
    """Return the key ring of the app that serves ``scope``.

    Raises:
        KeysUnavailableError: there is none; the app's lifespan has not run.
    """
    state = getattr(scope.get("app"), "state", None)
    ring = getattr(state, _STATE_NAME, None)
    if not isinstance(ring, KeyRing):
        raise KeysUnavailableError(
            "This server has no epoch keys: run its app with its lifespan."
        )
    return ring


def _install_ring(app: fastapi.FastAPI, period: float) -> KeyRing:
    ring = make_key_ring(load_settings(), period)
    setattr(app.state, _STATE_NAME, ring)
    return ring
