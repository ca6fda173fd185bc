"""What ``protect`` counts: in the registry of all, or as the caller wants it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from stainedglass_output_protection.server.observer import Finished, KeyState
from tests.asgi.applications import KINDS, Identity, started
from tests.asgi_driver import call

ROOT = Path(__file__).parents[2]
_LIMIT_S = 120

# One process of a server: an application with a page of its own for metrics.
WORKER = """
import asyncio, sys
import prometheus_client
from prometheus_client import CollectorRegistry, multiprocess
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from stainedglass_output_protection.asgi import protect
from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.asgi.applications import KINDS, started
from tests.asgi_driver import body_of, call

async def page(request):
    registry = prometheus_client.REGISTRY
    if sys.argv[2] == "shared":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    return PlainTextResponse(prometheus_client.generate_latest(registry))

async def main():
    app = KINDS[sys.argv[1]]()
    app.router.routes.append(Route("/metrics", page))
    protect(app)
    async with started(app):
        await call(app, key_pair=ClientKeyPair.generate())
        await call(app)
        sent = await call(app, path="/metrics", method="GET")
    for line in body_of(sent).decode().splitlines():
        if line.startswith("output_protection_"):
            print(line)

asyncio.run(main())
"""


class Kept:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.began = 0
        self.ended: list[Finished] = []
        self.made = 0
        self.states: list[KeyState] = []

    def request_began(self) -> None:
        self.began += 1

    def request_ended(self, request: Finished) -> None:
        self.ended.append(request)

    def rotated(self, *, made: int, has_failed: bool) -> None:
        self.made += made

    def keys_are(self, state: KeyState) -> None:
        self.states.append(state)


def worker(kind: str, *, shared: Path | None = None) -> list[str]:
    """Run one, and return what its page says of the protection."""
    environ = {name: it for name, it in os.environ.items() if name[:3] != "SG_"}
    if shared is not None:
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)
    done = subprocess.run(
        [sys.executable, "-c", WORKER, kind, "shared" if shared else "alone"],
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        cwd=ROOT,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("kind", ["starlette", "fastapi"])
def test_an_application_that_shows_metrics_shows_ours(kind: str) -> None:
    told = worker(kind)

    route = 'route="/v1/chat/completions"'
    for line in (
        f'output_protection_requests_total{{outcome="sealed",{route},stream="false"}} 1.0',
        'output_protection_refusals_total{code="client_key_missing"} 1.0',
        "output_protection_live_keys 1.0",
        "output_protection_requests_in_progress 0.0",
    ):
        assert line in told


def test_workers_that_share_a_folder_count_together(tmp_path: Path) -> None:
    for _ in range(2):
        told = worker("starlette", shared=tmp_path)

    route = 'route="/v1/chat/completions"'
    assert 'output_protection_refusals_total{code="client_key_missing"} 2.0' in told
    assert (
        f'output_protection_requests_total{{outcome="sealed",{route},stream="false"}} 2.0'
        in told
    )
    assert "output_protection_seal_seconds_count 2.0" in told


@pytest.mark.parametrize("kind", KINDS)
async def test_another_observer_is_told_instead(identity: Identity, kind: str) -> None:
    kept = Kept()
    app: Any = protect(KINDS[kind](), identity_key_file=identity.path, observer=kept)
    async with started(app):
        await call(app, key_pair=ClientKeyPair.generate())
        await call(app)

    assert kept.began == len(kept.ended) == 2
    assert [(it.outcome, it.code) for it in kept.ended] == [
        ("sealed", ""),
        ("refused", "client_key_missing"),
    ]
    assert (kept.made, kept.states[-1].live) == (1, 1)


async def test_an_observer_that_fails_costs_no_answer(
    identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Kept):
        def request_began(self) -> None:
            raise OSError("no space left")

    app = protect(KINDS["bare"](), identity_key_file=identity.path, observer=Failing())
    for _ in range(2):
        sent = await call(app, key_pair=ClientKeyPair.generate())
        assert sent[0]["status"] == 200

    assert len([it for it in caplog.messages if "Metrics are wrong" in it]) == 1


def test_a_folder_that_cannot_be_used_is_refused_at_once(tmp_path: Path) -> None:
    program = (
        "from stainedglass_output_protection.asgi import protect\n"
        "from stainedglass_output_protection.errors import ConfigurationError\n"
        "try:\n"
        "    protect(lambda scope, receive, send: None)\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "nowhere")},
    )

    assert done.stdout.startswith("PROMETHEUS_MULTIPROC_DIR: metrics cannot be kept")
