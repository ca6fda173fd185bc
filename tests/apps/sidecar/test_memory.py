"""What fails leaves nothing of its request behind."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import pytest

from tests.apps.proxy.running import unused_port, wait_for_the_ending
from tests.apps.sidecar.sidecars import Running, beside, posted
from tests.asgi.applications import ASK, Identity

_MIB = 1 << 20
_BODY = {**ASK, "more": "x" * _MIB}
_TIMES = 20


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.fixture
def sidecar() -> Iterator[Running]:
    """One before an engine that is down."""
    with beside(f"http://127.0.0.1:{unused_port()}") as running:
        yield running


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_bodies_of_failed_requests_are_gone(
    identity: Identity, sidecar: Running, profile: str, traced: None
) -> None:
    def fail() -> None:
        assert posted(sidecar.url, identity, _BODY, profile=profile).status_code == 502

    fail()
    wait_for_the_ending()
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(_TIMES):
        fail()
    wait_for_the_ending()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()

    # The tap keeps a copy of the answers, which are small.
    assert after - before < _TIMES * _MIB / 4
