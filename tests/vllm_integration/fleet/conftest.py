"""Replicas that share one fleet's secret and one identity, and a router before them."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stainedglass_output_protection.client import protected_client
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.attacks.relay import Relay, serving
from tests.vllm_integration.conftest import SG_VLLM, WITH_TAP, Identity, Say
from tests.vllm_integration.fleet.before import Before, go_on_before
from tests.vllm_integration.fleet.keys import sg_vllm_keys
from tests.vllm_integration.fleet.replicas import Watch
from tests.vllm_integration.fleet.router import Router, routing
from tests.vllm_integration.servers import QUICK, Server, start

# Engines of one machine; by itself each binds its threads to the same core.
_UNBOUND = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
# What is larger is refused, so that a test can send it.
SEALED_LIMIT = 65536


@dataclass
class Starting:
    """Servers that load at the same time, and the lines that they want to be said.

    ``variables`` are those of the two that share a secret.
    """

    servers: dict[str, Future[Server]]
    variables: dict[str, str]
    lines: queue.SimpleQueue[str]
    before: Before

    def wait(self, name: str, say: Say) -> Server:
        """Return a server once it is up."""
        server = self.servers[name]
        while not server.done():
            try:
                say(self.lines.get(timeout=0.5))
            except queue.Empty:
                continue
        while not self.lines.empty():
            say(self.lines.get())
        return server.result()


@pytest.fixture(scope="package")
def starting(
    folder: Path, identity: Identity, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Starting]:
    """Two replicas of one fleet, and one of another fleet that is older than itself."""
    keys = tmp_path_factory.mktemp("fleet")
    sg_vllm_keys(
        *("generate", "--fleet", keys / "fleet.key", "--period", "1", "--overlap", "60")
    )
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def variables_of(fleet: Path) -> dict[str, str]:
        return {
            **_UNBOUND,
            "SG_FLEET_SECRET_FILE": str(fleet),
            "SG_IDENTITY_KEY_FILE": str(identity.path),
            "SG_MAX_SEALED_REQUEST_BYTES": str(SEALED_LIMIT),
        }

    def begin(name: str, command: Sequence[str], fleet: Path, **options: Any) -> Server:
        options["variables"] = variables_of(fleet)
        return start(name, (*command, *QUICK), folder, say=lines.put, **options)

    def submit(*arguments: Any, **options: Any) -> Future[Server]:
        return pool.submit(begin, *arguments, **options)

    # Nothing is asked of it before it has a server behind it.
    with serving(Relay(0)) as relay, ThreadPoolExecutor(8) as pool:
        before = go_on_before(keys, identity, relay, pool)
        ours = keys / "fleet.key"
        servers = {
            "first": submit("fleet, first", WITH_TAP, ours, has_tap=True),
            "second": submit("fleet, second", SG_VLLM, ours),
            "late": submit("fleet, late", SG_VLLM, before.fleet_path),
        }
        try:
            yield Starting(servers, variables_of(ours), lines, before)
        finally:
            before.is_up.set()
            for server in servers.values():
                if server.exception() is None:
                    server.result().end()
            before.waiting.exception()
            before.client.close()


@pytest.fixture(scope="package")
def replicas(starting: Starting, say: Say) -> tuple[Server, Server]:
    """Two replicas with a new epoch each second. The first has a tap for faults."""
    return starting.wait("first", say), starting.wait("second", say)


@pytest.fixture(scope="package")
def late(starting: Starting, say: Say) -> Server:
    """The replica of the other fleet; the relay before it passes on from now on."""
    server = starting.wait("late", say)
    starting.before.let_through(server.port)
    return server


@pytest.fixture(scope="package")
def router(replicas: tuple[Server, Server], folder: Path, say: Say) -> Iterator[Router]:
    """The router that all clients share."""
    with routing("router", folder, *(server.url for server in replicas)) as made:
        yield made


@pytest.fixture
def watch(replicas: tuple[Server, Server]) -> Watch:
    """Sees what the two replicas answer in this test."""
    return Watch(replicas)


@pytest.fixture
def relay(router: Router) -> Iterator[Relay]:
    """A relay between a client and the router."""
    with serving(Relay(router.port)) as made:
        yield made


MakeClient = Callable[..., Any]


@pytest.fixture
def make_client(router: Router, identity: Identity) -> Iterator[MakeClient]:
    """Makes pinned clients in profile sealed; their server is the router."""
    made = []

    def make(**options: Any) -> Any:
        options = {"base_url": router.url, "timeout": TIMEOUT_S, **options}
        client = protected_client(identity=identity.fingerprint, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
