"""Keys come and go with the application, whatever its server does about lifespans."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stainedglass_output_protection.asgi import process_keys, protect
from stainedglass_output_protection.errors import ConfigurationError
from stainedglass_output_protection.hosting import start_barrier
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.apps.proxy.running import served as served_with
from tests.asgi.applications import (
    CHAT,
    KINDS,
    Bare,
    Identity,
    Tapped,
    fastapi_app,
    starlette_app,
    started,
    without_lifespan,
)
from tests.asgi.serving import fetched, served
from tests.asgi_driver import answering, call, header_of

OF_EACH_KIND = pytest.mark.parametrize("kind", KINDS)
DOCUMENT = "/.well-known/output-protection"
SERVER_KEY = b"x-server-public-key"


def other_tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def status_of(app: Any) -> int:
    status: int = (await call(app, key_pair=ClientKeyPair.generate()))[0]["status"]
    return status


@OF_EACH_KIND
async def test_the_task_that_renews_keys_ends_with_the_application(
    identity: Identity, kind: str
) -> None:
    app = protect(KINDS[kind](), identity_key_file=identity.path)
    for _ in range(50):
        async with started(app):
            assert await status_of(app) == 200
        assert not other_tasks()
        assert await status_of(app) == 503


@OF_EACH_KIND
async def test_keys_are_renewed(identity: Identity, kind: str) -> None:
    app = protect(
        KINDS[kind](), identity_key_file=identity.path, key_refresh_time_s=0.1
    )
    seen: set[bytes] = set()
    async with started(app):
        while len(seen) < 3:
            sent = await call(app, key_pair=ClientKeyPair.generate())
            seen.update(header_of(sent, SERVER_KEY))
            await asyncio.sleep(0.02)


@OF_EACH_KIND
def test_without_a_lifespan_keys_are_made_with_the_first_request(
    identity: Identity, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = protect(KINDS[kind](), identity_key_file=identity.path)
    with served_with(without_lifespan(app)) as port:
        told = [fetched(f"http://127.0.0.1:{port}{DOCUMENT}") for _ in range(3)]

    assert {it.status_code for it in told} == {200}
    assert len({it.json()["key_id"] for it in told}) == 1
    warnings = [it for it in caplog.messages if "lifespan" in it]
    assert len(warnings) == 1


@OF_EACH_KIND
async def test_without_a_lifespan_keys_are_renewed_too(
    identity: Identity, kind: str
) -> None:
    app = protect(
        KINDS[kind](), identity_key_file=identity.path, key_refresh_time_s=0.1
    )
    assert await status_of(app) == 200
    (task,) = other_tasks()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    # As when a worker gets another event loop.
    assert await status_of(app) == 200
    (task,) = other_tasks()
    task.cancel()


def test_an_application_that_knows_no_lifespan_has_keys_before_it_is_asked(
    identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    with served(protect(Bare(), identity_key_file=identity.path)) as url:
        assert not [it for it in caplog.messages if "first request" in it]
        assert fetched(url + DOCUMENT).status_code == 200
    assert not [it for it in caplog.messages if "first request" in it]


async def test_an_application_that_answers_to_anything_has_keys(
    identity: Identity,
) -> None:
    app = protect(answering(b"{}"), identity_key_file=identity.path)
    async with started(app):
        assert await status_of(app) == 200
    assert not other_tasks()


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
async def test_the_application_s_own_lifespan_is_kept(
    identity: Identity, make: Any
) -> None:
    done: list[str] = []

    @contextlib.asynccontextmanager
    async def own(app: Any) -> AsyncIterator[dict[str, str]]:
        done.append("started")
        yield {"engine": "loaded"}
        done.append("stopped")

    async with started(protect(make(lifespan=own), identity_key_file=identity.path)):
        assert done == ["started"]
    assert done == ["started", "stopped"]


async def test_a_start_that_fails_is_told_as_the_application_tells_it(
    identity: Identity,
) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no GPU"})

    app = protect(failing, identity_key_file=identity.path)
    with pytest.raises(RuntimeError, match="no GPU"):
        async with started(app):
            pass
    assert not other_tasks()


@OF_EACH_KIND
async def test_an_identity_that_is_gone_keeps_the_server_from_starting(
    identity: Identity, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = protect(KINDS[kind](), identity_key_file=identity.path)
    identity.path.unlink()
    with pytest.raises(RuntimeError, match="SG_IDENTITY_KEY_FILE"):
        async with started(app):
            pass


async def test_an_identity_that_is_gone_refuses_the_first_request(
    identity: Identity,
) -> None:
    app = protect(Bare(), identity_key_file=identity.path)
    identity.path.unlink()

    assert await status_of(app) == 503


@OF_EACH_KIND
async def test_a_first_key_that_fails_is_tried_again_later_not_at_once(
    identity: Identity,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_ms = 1_000_000
    monkeypatch.setattr(process_keys, "elapsed_ms", lambda: now_ms)
    pem = identity.path.read_bytes()
    app = protect(KINDS[kind](), identity_key_file=identity.path)
    identity.path.unlink()
    assert await status_of(app) == 503
    identity.path.write_bytes(pem)
    identity.path.chmod(0o600)
    for _ in range(5):
        now_ms += 1_999
        assert await status_of(app) == 503
    failures = [it for it in caplog.messages if str(identity.path) in it]
    assert len(failures) == 1

    now_ms += 5
    assert await status_of(app) == 200
    warnings = [it for it in caplog.messages if "lifespan" in it]
    assert len(warnings) == 1
    (task,) = other_tasks()
    task.cancel()


@OF_EACH_KIND
async def test_why_there_are_no_keys_is_for_the_log_alone(
    identity: Identity, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    tapped = Tapped(protect(KINDS[kind](), identity_key_file=identity.path))
    identity.path.unlink()
    for path in (f"{DOCUMENT}/ready", DOCUMENT, CHAT):
        for method in ("GET", "POST"):
            await call(
                tapped, method=method, path=path, key_pair=ClientKeyPair.generate()
            )

    assert identity.path.name not in tapped.wire.decode()
    assert str(identity.path) in caplog.text


@OF_EACH_KIND
async def test_keys_of_first_use_end_when_a_lifespan_begins(
    identity: Identity, kind: str
) -> None:
    app = protect(KINDS[kind](), identity_key_file=identity.path)
    first = header_of(await call(app, key_pair=ClientKeyPair.generate()), SERVER_KEY)
    async with started(app):
        sent = await call(app, key_pair=ClientKeyPair.generate())
        assert header_of(sent, SERVER_KEY) != first
    assert not other_tasks()


@OF_EACH_KIND
async def test_a_second_lifespan_does_not_take_the_first_one_s_keys(
    identity: Identity, kind: str
) -> None:
    app = protect(KINDS[kind](), identity_key_file=identity.path)
    async with started(app):
        with pytest.raises(RuntimeError, match="served already"):
            async with started(app):
                pass
        assert await status_of(app) == 200
    async with started(app):
        assert await status_of(app) == 200


@OF_EACH_KIND
async def test_workers_of_a_fleet_have_the_same_keys(
    identity: Identity, fleet_file: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_barrier, "_MARK_MS", 0)
    monkeypatch.setenv("SG_FLEET_SECRET_FILE", str(fleet_file))
    keys = set()
    for _ in range(2):
        app = protect(KINDS[kind](), identity_key_file=identity.path)
        async with started(app):
            sent = await call(app, key_pair=ClientKeyPair.generate())
            keys.update(header_of(sent, SERVER_KEY))

    assert len(keys) == 1


@OF_EACH_KIND
async def test_a_worker_of_a_fleet_waits_before_it_is_ready(
    identity: Identity,
    fleet_file: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(start_barrier, "_MARK_MS", start_barrier.unix_ms() + 300)
    app = protect(
        KINDS[kind](), identity_key_file=identity.path, fleet_secret_file=fleet_file
    )
    with caplog.at_level(logging.INFO):
        async with started(app):
            assert start_barrier.unix_ms() > start_barrier.start_mark_ms()
    assert "Not ready yet" in caplog.text


def test_a_fleet_needs_an_identity_that_all_have(fleet_file: Path) -> None:
    with pytest.raises(ConfigurationError, match="SG_IDENTITY_KEY_FILE must be set"):
        protect(Bare(), fleet_secret_file=fleet_file)
