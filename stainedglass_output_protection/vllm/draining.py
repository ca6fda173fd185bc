"""Running answers end before vLLM's engine is told to stop, if it gives them time.

vLLM's own drain does that with one API server. With several it cuts each from its engine
at once, and what runs stands still until the time is over.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from stainedglass_output_protection.server.draining import PROCESS


def finishing_first(
    serve_http: Callable[..., Awaitable[Any]],
) -> Callable[..., Awaitable[Any]]:
    """Return ``serve_http`` so that its engine's client stops when nothing runs."""

    @functools.wraps(serve_http)
    async def serve(app: Any, *args: Any, **kwargs: Any) -> Any:
        client: Any = getattr(app.state, "engine_client", None)
        if hasattr(client, "shutdown"):
            client.shutdown = finishing(client.shutdown)
        return await serve_http(app, *args, **kwargs)

    return serve


def finishing(shutdown: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``shutdown`` so that its first call, from a thread, waits for answers.

    The time that it gives them is its argument ``timeout`` (seconds); without it they
    get none, as before.
    """

    @functools.wraps(shutdown)
    def finish_and_shut_down(*args: Any, **kwargs: Any) -> Any:
        draining, timeout = PROCESS.draining, kwargs.get("timeout")
        if timeout and not draining.is_stopping and not _is_answering():
            kwargs = {**kwargs, "timeout": draining.finish(timeout)}
        return shutdown(*args, **kwargs)

    return finish_and_shut_down


def _is_answering() -> bool:
    """Tell whether this is the thread that answers, which must not be made to wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
