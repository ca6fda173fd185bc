"""A fleet in which one replica has another secret: real vLLM behind the real router.

Its identity is that of the others, as it is where somebody has copied one file and made
the other anew. What clients, the network and the operator see of it, and that all go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vllm_integration.attacks.relay import Relay, serving
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.fleet.router import routing
from tests.vllm_integration.fleet.test_other_secret.two_secrets import (
    REQUESTS,
    Told,
    TwoSecrets,
)
from tests.vllm_integration.servers import Server


@pytest.fixture(scope="package")
def two(
    replicas: tuple[Server, Server], late: Server, folder: Path
) -> Iterator[TwoSecrets]:
    """One replica of each fleet behind one router."""
    ours = replicas[0]
    with (
        routing("router, two secrets", folder, ours.url, late.url) as router,
        serving(Relay(router.port)) as relay,
    ):
        yield TwoSecrets((ours, late), router, relay)
    # No test after these asks for it: what it takes of the machine is wanted.
    late.end()


@pytest.fixture(scope="package")
def sealed(two: TwoSecrets, identity: Identity) -> Told:
    """What a client in profile sealed was told."""
    return two.ask(REQUESTS, identity=identity.fingerprint, profile="sealed")


@pytest.fixture(scope="package")
def output(two: TwoSecrets, identity: Identity) -> Told:
    """What a client in profile output was told."""
    return two.ask(REQUESTS, identity=identity.fingerprint, profile="output")
