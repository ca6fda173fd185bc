"""Epoch keys in an app's life: there before the first request, renewed, then gone."""

from __future__ import annotations

import asyncio
import contextlib
from argparse import Namespace
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.vllm.server_keys import (
    ephemeral_key_lifespan_factory,
    inject_key_lifespan,
    periodic_refresh,
    ring_of,
)
from tests.vllm_layer.app import build_app, vllm_lifespan


def scope_with(app: Any) -> dict[str, Any]:
    return {"type": "http", "app": app}


def key_of(app: FastAPI) -> str:
    return ring_of(scope_with(app)).current(unix_ms()).public_key_base64


async def test_first_key_exists_before_the_wrapped_lifespan_begins() -> None:
    seen = []

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, int]]:
        seen.append(key_of(app))
        yield {"its": 1}

    app = FastAPI()
    async with ephemeral_key_lifespan_factory(3600)(lifespan)(app) as state:
        assert state == {"its": 1}
        assert seen == [key_of(app)]


async def test_key_is_renewed_in_time() -> None:
    app = FastAPI()
    async with ephemeral_key_lifespan_factory(0.01)(vllm_lifespan)(app):
        first = key_of(app)
        async with asyncio.timeout(5):
            while key_of(app) == first:
                await asyncio.sleep(0.005)


async def test_refresh_task_ends_with_the_lifespan_and_leaves_the_state_alone() -> None:
    app = FastAPI()
    async with ephemeral_key_lifespan_factory(0.001)(vllm_lifespan)(app):
        assert len(asyncio.all_tasks()) == 2
    assert len(asyncio.all_tasks()) == 1
    with pytest.raises(KeysUnavailableError):
        ring_of(scope_with(app))


async def test_refresh_task_ends_if_the_wrapped_lifespan_fails() -> None:
    @contextlib.asynccontextmanager
    async def failing(app: FastAPI) -> AsyncIterator[None]:
        del app.state
        await asyncio.sleep(0)
        raise OSError("no engine")
        yield

    with pytest.raises(OSError, match="no engine"):
        async with ephemeral_key_lifespan_factory(3600)(failing)(FastAPI()):
            pass
    assert not asyncio.all_tasks() - {asyncio.current_task()}


async def test_periodic_refresh_alone_makes_the_first_key_and_renews_it() -> None:
    app = FastAPI()
    task = asyncio.create_task(periodic_refresh(app, 0.01))
    await asyncio.sleep(0)
    first = key_of(app)
    async with asyncio.timeout(5):
        while key_of(app) == first:
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_injected_twice_and_merged_by_fastapi_it_is_there_once() -> None:
    def build(arguments: Namespace) -> FastAPI:
        app = inject_key_lifespan(build_app, 60)(arguments)
        app.include_router(APIRouter())
        return app

    app = inject_key_lifespan(build, 60)(Namespace())
    async with app.router.lifespan_context(app):
        assert len(asyncio.all_tasks()) == 2


def test_app_without_keys_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no epoch keys"):
        ring_of(scope_with(FastAPI()))
    with pytest.raises(TypeError, match="no epoch keys"):
        ring_of({"type": "http"})
