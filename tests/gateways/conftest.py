"""Fixtures: a protected server, another one, and a gateway before them; LiteLLM apart."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.client.sealed_server import plain_answer
from tests.gateways.asking import Asking
from tests.gateways.simulator import Gateway
from tests.gateways.upstream import Upstream, running

# Set by ``scripts/test --with litellm``.
LITELLM_VARIABLE = "SG_TEST_WITH_LITELLM"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known wherever these tests are run from."""
    config.addinivalue_line("markers", "litellm: starts the real LiteLLM proxy")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave the tests with the real LiteLLM out, unless they were asked for."""
    if os.environ.get(LITELLM_VARIABLE):
        return
    left_out = [item for item in items if item.get_closest_marker("litellm")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SG_") and name != LITELLM_VARIABLE:
            monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def _pair() -> Iterator[tuple[Upstream, Gateway]]:
    with (
        running(Upstream()) as upstream,
        running(Upstream()) as stranger,
        Gateway(upstream.port, other_port=stranger.port) as gateway,
    ):
        yield upstream, gateway


@pytest.fixture
def upstream(_pair: tuple[Upstream, Gateway]) -> Upstream:
    """The protected server behind ``gateway``, with its usual answers."""
    server = _pair[0]
    server.app.answer = plain_answer
    server.app.calls.clear()
    return server


@pytest.fixture
def gateway(_pair: tuple[Upstream, Gateway]) -> Gateway:
    """A gateway without faults; its other server is a stranger's."""
    made = _pair[1]
    made.use()
    made.received.clear()
    made.forwarded.clear()
    return made


@pytest.fixture(params=["sealed", "output"])
def profile(request: pytest.FixtureRequest) -> str:
    """Each profile of a client."""
    return str(request.param)


@pytest.fixture(params=["unary", "stream"])
def shape(request: pytest.FixtureRequest) -> str:
    """What is asked for: one body, or events."""
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asking(
    request: pytest.FixtureRequest, upstream: Upstream, gateway: Gateway
) -> Asking:
    """Asks through the gateway, with a client of each kind."""
    return Asking(gateway, upstream.fingerprint, is_async=request.param)
