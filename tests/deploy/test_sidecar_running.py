"""What the sidecar's manifest runs, run as a plain process before an engine of the tests.

The tests run in their order: the last one ends the sidecar.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.protocol.identity import IdentityKey
from tests.apps.sidecar.engines import (
    Asked,
    Engine,
    answering,
    begin_stream,
    chunk,
    events,
    running,
)
from tests.apps.sidecar.sidecars import Command, command
from tests.asgi.applications import ASK, CHAT, answer
from tests.asgi.serving import fetched
from tests.deploy.sidecar_example import container, pod, sidecar_command
from tests.vllm_integration.servers import wait_for

# A fleet's replica waits a minute; the machine may be slow.
START_LIMIT_S = 300.0
TIMEOUT_S = 120.0
# The tests have an engine and a port of their own.
REPLACED = ("--upstream=", "--host=", "--port=")


@dataclass
class Running:
    """The sidecar, its engine, and what lets the engine end a stream."""

    process: Command
    engine: Engine
    let_go: threading.Event
    identity: str

    def probe(self, name: str) -> bool:
        """Ask a probe of the manifest, as Kubernetes does."""
        said = container()[f"{name}Probe"]
        try:
            got = httpx2.get(
                self.process.url + said["httpGet"]["path"],
                timeout=said["timeoutSeconds"],
                trust_env=False,
            )
        except httpx2.TransportError:
            return False
        return 200 <= got.status_code < 400

    def client(self) -> httpx2.Client:
        """Return a client that has pinned it."""
        made: httpx2.Client = protected_client(
            identity=self.identity,
            base_url=self.process.url,
            timeout=TIMEOUT_S,
            trust_env=False,
        )
        return made


@pytest.fixture(scope="module")
def sidecar(keys: Path) -> Iterator[Running]:
    """The sidecar, as soon as it listens."""
    ours = sidecar_command().below(keys)
    program, name, *arguments = ours.arguments
    assert (program, name) == ("sg-vllm", "sidecar")
    options = [it for it in arguments if not it.startswith(REPLACED)]
    assert len(arguments) - len(options) == len(REPLACED)
    pem = Path(ours.variables["SG_IDENTITY_KEY_FILE"]).read_bytes()
    let_go = threading.Event()

    async def serve(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if not asked.wants_stream:
            await answering()(asked, writer)
            return
        begin_stream(writer)
        first, *others = events()
        writer.write(chunk(first))
        await writer.drain()
        while not let_go.is_set():
            await asyncio.sleep(0.05)
        for data in others:
            writer.write(chunk(data))
        writer.write(chunk(b""))

    with (
        running(Engine(serve)) as engine,
        command("--upstream", engine.address, *options, **ours.variables) as process,
    ):
        fingerprint = IdentityKey.from_pem(pem).fingerprint
        yield Running(process, engine, let_go, fingerprint)


def test_it_is_alive_before_it_is_ready(sidecar: Running) -> None:
    wait_for(lambda: sidecar.probe("startup"), "the startup probe", START_LIMIT_S)
    assert not sidecar.engine.asked
    wait_for(lambda: sidecar.probe("liveness"), "the liveness probe", START_LIMIT_S)
    wait_for(lambda: sidecar.probe("readiness"), "the readiness probe", START_LIMIT_S)
    # The engine's word counted.
    assert sidecar.engine.asked


def test_a_protected_request_comes_through(sidecar: Running) -> None:
    with sidecar.client() as client:
        got = client.post(CHAT, json=ASK)
    assert got.extensions["output_protection"].mark is Mark.OPENED
    assert got.json() == answer()


def test_what_is_not_sealed_is_refused(sidecar: Running) -> None:
    seen = len(sidecar.engine.asked)
    got = fetched(sidecar.process.url + CHAT, "POST", json=ASK)
    assert got.status_code == 400
    assert got.json()["error"]["code"] == "sealed_request_required"
    assert CHAT not in {it.path for it in sidecar.engine.asked[seen:]}


def test_a_running_answer_ends_whole_when_the_sidecar_is_stopped(
    sidecar: Running,
) -> None:
    body = {**ASK, "stream": True}
    with sidecar.client() as client, client.stream("POST", CHAT, json=body) as got:
        pieces = got.iter_bytes()
        first = next(pieces)
        sidecar.process.stop()
        wait_for(lambda: not sidecar.probe("readiness"), "readiness to fail", 60)
        # The answer takes its time, which only --grace gives it.
        time.sleep(2)
        sidecar.let_go.set()
        whole = first + b"".join(pieces)
    assert whole == b"".join(events())
    sidecar.process.process.wait(pod()["terminationGracePeriodSeconds"])
    assert sidecar.process.process.returncode == 0
