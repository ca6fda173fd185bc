"""The servers, each started once, when a test first asks for it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey
from tests.vllm_integration.asking import Answer, Asker
from tests.vllm_integration.leaks import Detector
from tests.vllm_integration.servers import MODEL_PATH, QUICK, Server, start
from tests.vllm_integration.shapes import Shape

PACKAGE = "tests.vllm_integration"
SG_VLLM = ("stainedglass_output_protection.vllm.entrypoint", "serve", str(MODEL_PATH))
WITH_TAP = (f"{PACKAGE}.serve_with_tap", "serve", str(MODEL_PATH))
PLAIN = (f"{PACKAGE}.serve_plain", "serve", str(MODEL_PATH))

EVERYTHING_LOGGED = {
    "VLLM_LOGGING_LEVEL": "DEBUG",
    # vLLM takes this word for yes, and nothing else.
    "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "true",
}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Identity:
    """An identity key in a file, and the fingerprint that clients pin."""

    path: Path
    fingerprint: str


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SG_SERVER_IDENTITY", "SG_CLIENT_PUBLIC_KEY_HEADER_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Prints a line of progress at once, whatever pytest captures."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def print_now(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n[{line}]", end="", flush=True)

    return print_now


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers' logs go."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("no vLLM is installed: scripts/setup installs one")
    if not (MODEL_PATH / "config.json").exists():
        pytest.fail("there is no tiny model: scripts/setup makes it")
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """The identity of every server here that does not make its own."""
    key = IdentityKey.generate()
    path = tmp_path_factory.mktemp("identity") / "identity.pem"
    path.touch(mode=0o600)
    path.write_bytes(key.to_pem())
    return Identity(path, key.fingerprint)


@pytest.fixture(scope="session")
def detector(folder: Path) -> Detector:
    """Finds what the tiny model says and no prompt holds."""
    return Detector(MODEL_PATH)


@pytest.fixture(scope="session")
def main_server(folder: Path, identity: Identity, say: Say) -> Iterator[Server]:
    """A server with a tap inside its protection and a new epoch four times a second."""
    server = start(
        "main",
        WITH_TAP,
        folder,
        variables={
            "VLLM_LOGGING_LEVEL": "DEBUG",
            "SG_KEY_REFRESH_TIME_S": "0.25",
            # What is sealed to a key finds it, however slow the machine.
            "SG_KEY_OVERLAP_EPOCHS": "255",
            "SG_IDENTITY_KEY_FILE": str(identity.path),
        },
        say=say,
        has_tap=True,
    )
    yield server
    server.end()


@pytest.fixture(scope="session")
def two_servers(folder: Path, say: Say) -> Iterator[Server]:
    """Two API servers that log whole responses, started with foreign plugins listed."""
    server = start(
        "two API servers",
        (*SG_VLLM, "--api-server-count", "2", *QUICK),
        folder,
        variables={
            **EVERYTHING_LOGGED,
            "VLLM_PLUGINS": "something_else",
            "SG_KEY_REFRESH_TIME_S": "1",
            "SG_KEY_OVERLAP_EPOCHS": "60",
        },
        say=say,
    )
    yield server
    server.end()


@pytest.fixture(scope="session")
def generated_identity(two_servers: Server) -> str:
    """The fingerprint that the two servers printed."""
    found = re.search(r"SG_SERVER_IDENTITY=(SHA256:\S+)", two_servers.log)
    assert found
    return found[1]


@pytest.fixture(scope="session")
def outermost_server(folder: Path, identity: Identity, say: Say) -> Iterator[Server]:
    """A server that logs whole responses, its protection outside of that."""
    server = start(
        "protection outermost",
        (*WITH_TAP, *QUICK),
        folder,
        variables={
            **EVERYTHING_LOGGED,
            "SG_IDENTITY_KEY_FILE": str(identity.path),
            "TAP_PLACEMENT": "outermost",
            "TAP_GUARDS_OFF": "serve,startup",
        },
        say=say,
    )
    yield server
    server.end()


@pytest.fixture(scope="session")
def plain_server(folder: Path, identity: Identity, say: Say) -> Iterator[Server]:
    """vLLM's own command, with the endpoint plugin and whole responses in its log."""
    server = start(
        "vllm serve",
        (*PLAIN, *QUICK),
        folder,
        variables={
            **EVERYTHING_LOGGED,
            "SG_IDENTITY_KEY_FILE": str(identity.path),
            "VLLM_PLUGINS": "stainedglass_output_protection",
        },
        say=say,
    )
    yield server
    server.end()


@pytest.fixture(scope="session")
def asker(main_server: Server, identity: Identity) -> Iterator[Asker]:
    """A pinned protected client of the main server."""
    made = Asker(main_server.url, identity.fingerprint)
    yield made
    made.close()


@dataclass
class Answers:
    """The main server's answer to each shape, asked once."""

    _asker: Asker
    _known: dict[str, Answer] = field(default_factory=dict)

    def __getitem__(self, shape: Shape) -> Answer:
        if shape.name not in self._known:
            self._known[shape.name] = self._asker.ask(
                shape.path, shape.body, name=shape.name
            )
        return self._known[shape.name]


@pytest.fixture(scope="session")
def answers(asker: Asker) -> Answers:
    """The main server's answers by shape."""
    return Answers(asker)


@pytest.fixture(scope="session")
def sealed_answers(main_server: Server, identity: Identity) -> Iterator[Answers]:
    """The main server's answers by shape, to requests that were sealed."""
    made = Asker(main_server.url, identity.fingerprint, profile="sealed")
    yield Answers(made)
    made.close()
