"""Epoch keys in an app's life: there before the first request, renewed, then gone."""

from __future__ import annotations

import asyncio
import contextlib
from argparse import Namespace
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.hosting import environment, start_barrier
from stainedglass_output_protection.hosting.private_files import make_private_file
from stainedglass_output_protection.protocol.key_document import KeyDocument
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.epoch_table import Table
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.fleet_epochs import FleetEpochs
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from stainedglass_output_protection.server.shared_epochs import SharedEpochs
from stainedglass_output_protection.vllm.server_keys import (
    ephemeral_key_lifespan_factory,
    inject_key_lifespan,
    periodic_refresh,
    ring_of,
)
from tests.vllm_layer.app import build_app, vllm_lifespan


@contextlib.asynccontextmanager
async def plain_lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield


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
        async with asyncio.timeout(60):
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
    async with asyncio.timeout(60):
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


def source_of(app: FastAPI) -> object:
    return ring_of(scope_with(app))._source


async def test_epochs_are_the_process_s_own_without_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SG_KEY_OVERLAP_EPOCHS", "3")
    app = FastAPI()
    async with ephemeral_key_lifespan_factory(60)(plain_lifespan)(app):
        source = source_of(app)
        assert isinstance(source, OwnEpochs)
        assert source.times == EpochTimes(60_000, 3)


async def test_epochs_are_shared_by_the_processes_of_one_server() -> None:
    environment.mark_for_children()
    table = make_private_file("epochs", Table().encode())
    environment.hand_epoch_table_to_children(table)
    apps = [FastAPI(), FastAPI()]
    wrap = ephemeral_key_lifespan_factory(60)(plain_lifespan)
    async with wrap(apps[0]), wrap(apps[1]):
        assert isinstance(source_of(apps[0]), SharedEpochs)
        assert key_of(apps[0]) == key_of(apps[1])


async def test_epochs_are_the_fleet_s_and_so_is_their_period(
    monkeypatch: pytest.MonkeyPatch, identity_file: Path, fleet_file: Path
) -> None:
    monkeypatch.setenv("SG_IDENTITY_KEY_FILE", str(identity_file))
    monkeypatch.setenv("SG_FLEET_SECRET_FILE", str(fleet_file))
    # What an earlier process may have run is too old when this one is ready.
    mark = unix_ms() + 300
    monkeypatch.setattr(start_barrier, "_MARK_MS", mark)
    apps = [FastAPI(), FastAPI()]
    wrap = ephemeral_key_lifespan_factory(3600)(plain_lifespan)
    async with wrap(apps[0]), wrap(apps[1]):
        assert unix_ms() > mark == start_barrier.start_mark_ms()
        source = source_of(apps[0])
        assert isinstance(source, FleetEpochs)
        assert source.times == EpochTimes(90_000, 2)
        keys = [ring_of(scope_with(app)).current(unix_ms()) for app in apps]
        assert keys[0].statement.body == keys[1].statement.body


async def test_evidence_is_in_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SG_EVIDENCE_PROVIDER", f"{__name__}:quote")
    app = FastAPI()
    async with ephemeral_key_lifespan_factory(60)(plain_lifespan)(app):
        key = ring_of(scope_with(app)).current(unix_ms())
    document = KeyDocument.from_text(key.document_text)
    assert document.evidence == b"quote of " + key.statement.digest


def quote(digest: bytes) -> bytes:
    return b"quote of " + digest


def test_app_without_keys_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no epoch keys"):
        ring_of(scope_with(FastAPI()))
    with pytest.raises(TypeError, match="no epoch keys"):
        ring_of({"type": "http"})
