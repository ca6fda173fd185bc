"""The attacked server, and relays in front of it that must not have learnt anything."""

from __future__ import annotations

import contextlib
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.keys import ClientKeyPair
from tests.tiny_dialogues import CANARIES
from tests.vllm_integration.attacks import forging
from tests.vllm_integration.attacks.clients import API_KEY, Asking, asking
from tests.vllm_integration.attacks.impostor import Impostor, serving_impostor
from tests.vllm_integration.attacks.relay import Relay, serving
from tests.vllm_integration.conftest import SG_VLLM, Identity, Say
from tests.vllm_integration.leaks import PROMPT_WORDS, Detector
from tests.vllm_integration.servers import (
    MODEL_PATH,
    QUICK,
    Server,
    start,
    wait_for,
)

_OPTIONS = ("--api-key", API_KEY, "--enable-prompt-tokens-details")
_VARIABLES = {
    "VLLM_ENABLE_RESPONSES_API_STORE": "1",
    "SG_SEALED_AUTHORIZATION": "true",
    "SG_MAX_SEALED_REQUEST_BYTES": "65536",
    # There is always an epoch that is a few seconds old, and none retires meanwhile.
    "SG_KEY_REFRESH_TIME_S": "20",
    "SG_KEY_OVERLAP_EPOCHS": "60",
}
_SEALED = re.compile(rb"sgop1-request\.[A-Za-z0-9+/]{100,}=*")
_FENCE = b'{"model": "tiny", "prompt": [300, 301, 302], "max_tokens": 1}'
_FENCE_TOKENS = 3


@pytest.fixture(scope="package")
def server(folder: Path, identity: Identity, say: Say) -> Iterator[Server]:
    """The attacked server."""
    made = start(
        "attacked",
        (*SG_VLLM, *QUICK, *_OPTIONS),
        folder,
        variables={**_VARIABLES, "SG_IDENTITY_KEY_FILE": str(identity.path)},
        say=say,
    )
    yield made
    made.end()


@pytest.fixture(scope="package")
def strict_detector(folder: Path) -> Detector:
    """Finds what prompts and answers say."""
    return Detector(MODEL_PATH, (*CANARIES, *PROMPT_WORDS))


@pytest.fixture
def open_relay(server: Server) -> Iterator[Relay]:
    """A relay in front of the attacked server that may learn whatever it can."""
    with serving(Relay(server.port)) as made:
        yield made


@pytest.fixture
def answers_relay(open_relay: Relay, detector: Detector) -> Iterator[Relay]:
    """A relay that must not learn a word of any answer."""
    yield open_relay
    assert open_relay.requests
    assert detector.find(open_relay.seen) == []


@pytest.fixture
def relay(open_relay: Relay, strict_detector: Detector) -> Iterator[Relay]:
    """A relay that must not learn a word of any prompt or answer."""
    yield open_relay
    assert open_relay.requests
    assert strict_detector.find(open_relay.seen) == []
    # Nor was anything sealed to keys of its own.
    texts = _SEALED.findall(open_relay.seen)
    assert not [text for text in texts if forging.opens(text.decode())]


@pytest.fixture
def client(relay: Relay, identity: Identity) -> Iterator[Asking]:
    """A pinned client in profile sealed behind the relay."""
    with asking(relay, identity.fingerprint) as made:
        yield made


@pytest.fixture
def output_client(answers_relay: Relay, identity: Identity) -> Iterator[Asking]:
    """A pinned client in profile output behind the relay."""
    with asking(answers_relay, identity.fingerprint, profile="output") as made:
        yield made


@dataclass
class Between:
    """A client in one of the profiles, and the relay in front of its server."""

    relay: Relay
    client: Asking


@pytest.fixture(params=["sealed", "output"])
def between(request: pytest.FixtureRequest) -> Between:
    """Either profile: what is done to answers fails in both."""
    if request.param == "sealed":
        names = ("relay", "client")
    else:
        names = ("answers_relay", "output_client")
    return Between(*map(request.getfixturevalue, names))


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    """A server of the relay's own."""
    with serving_impostor() as made:
        yield made


NothingRuns = Callable[[], "contextlib.AbstractContextManager[None]"]


@pytest.fixture
def nothing_runs(server: Server) -> NothingRuns:
    """Fails if a prompt reaches the engine while the block runs."""

    def fence() -> float:
        """Send the engine a prompt of known length and wait until it was counted."""
        before = _prompt_tokens(server)
        request = urllib.request.Request(
            f"{server.url}/v1/completions",
            _FENCE,
            {
                "authorization": f"Bearer {API_KEY}",
                "content-type": "application/json",
                "x-client-public-key": ClientKeyPair.generate().header_value,
            },
        )
        urllib.request.urlopen(request, timeout=30).close()
        wait_for(lambda: _prompt_tokens(server) >= before + _FENCE_TOKENS, "the fence")
        time.sleep(0.05)
        return _prompt_tokens(server)

    @contextlib.contextmanager
    def check() -> Iterator[None]:
        before = fence()
        yield
        assert fence() == before + _FENCE_TOKENS

    return check


def _prompt_tokens(server: Server) -> float:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    counts = re.findall(r"^vllm:prompt_tokens_total(?:{.*})? (\S+)$", text, re.M)
    assert counts
    return sum(map(float, counts))
