"""vLLM without protection beside the protected one, and what each program said of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tiny_dialogues import CANARIES
from tests.vllm_integration.conftest import PLAIN, SG_VLLM, Identity, Say
from tests.vllm_integration.examples.programs import (
    EMBEDDING,
    ENVIRONMENTS,
    Environment,
    Interpreter,
    Ran,
)
from tests.vllm_integration.leaks import PROMPT_WORDS, Detector
from tests.vllm_integration.servers import MODEL_PATH, QUICK, Server, start

_EMBEDS = (*QUICK, "--runner", "pooling", "--convert", "embed")
_STARTED_HERE = {
    "unprotected": (*PLAIN, *QUICK),
    "plain embedder": (*PLAIN, *_EMBEDS),
    "protected embedder": (*SG_VLLM, *_EMBEDS),
}
# Left to itself, each server takes the same processor, whatever the others do.
_ANYWHERE = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
KINDS = ("plain", "protected")


@pytest.fixture(scope="package")
def started(folder: Path, identity: Identity, say: Say) -> Iterator[dict[str, Server]]:
    """The servers that only these tests need, by name.

    They start at the same time, while the environments of the programs are made: most
    of a start is imports, one after the other.
    """
    turn = threading.Lock()

    def say_in_turn(line: str) -> None:
        with turn:
            say(line)

    def begin(name: str) -> Server:
        server = start(
            name,
            _STARTED_HERE[name],
            folder,
            variables={**_ANYWHERE, "SG_IDENTITY_KEY_FILE": str(identity.path)},
            say=say_in_turn,
        )
        up.append(server)
        return server

    up: list[Server] = []
    try:
        with ThreadPoolExecutor(len(_STARTED_HERE) + 1) as threads:
            making = threads.submit(_make_environments)
            starting = {name: threads.submit(begin, name) for name in _STARTED_HERE}
        making.result()
        yield {name: server.result() for name, server in starting.items()}
    finally:
        with ThreadPoolExecutor(len(_STARTED_HERE)) as threads:
            list(threads.map(Server.end, up))


def _make_environments() -> None:
    for environment in ENVIRONMENTS:
        environment.python()
        environment.search_path()


@pytest.fixture(scope="package")
def vllm(started: dict[str, Server]) -> Server:
    """``vllm serve``, as it is without this package."""
    return started["unprotected"]


@dataclass
class Results:
    """What came of the programs of an environment, run when first asked for."""

    ports: dict[str, int]
    embedders: dict[str, int]
    identity: str
    say: Say
    _known: dict[tuple[str, bool], dict[str, dict[str, Ran]]] = field(
        default_factory=dict
    )
    _interpreters: dict[tuple[str, str], Interpreter] = field(default_factory=dict)

    def of(self, environment: Environment, program: str) -> tuple[Ran, Ran]:
        """Return what came of a program, plain and protected."""
        embeds = program == EMBEDDING
        if (str(environment), embeds) not in self._known:
            programs = [EMBEDDING] if embeds else environment.programs()
            ports = self.embedders if embeds else self.ports
            ran = self._run_both(environment, programs, ports)
            self._known[str(environment), embeds] = ran
        plain, protected = (self._known[str(environment), embeds][it] for it in KINDS)
        return plain[program], protected[program]

    def run(
        self,
        environment: Environment,
        kind: str,
        programs: Sequence[str],
        *,
        identity: str = "",
    ) -> dict[str, Ran]:
        """Run some programs now; they pin the servers' identity, or another."""
        self.say(f"{len(programs)} {kind} programs with {environment}")
        return self._interpreter(environment, kind).run(
            kind,
            programs,
            port=self.ports[kind],
            identity=identity or self.identity,
        )

    def end(self) -> None:
        """End the interpreters."""
        for interpreter in self._interpreters.values():
            interpreter.end()

    def _run_both(
        self, environment: Environment, programs: list[str], ports: Mapping[str, int]
    ) -> dict[str, dict[str, Ran]]:
        self.say(f"{len(programs)} programs with {environment}, plain and protected")
        interpreters = {kind: self._interpreter(environment, kind) for kind in KINDS}
        with ThreadPoolExecutor(len(KINDS)) as threads:
            running = {
                kind: threads.submit(
                    interpreters[kind].run,
                    kind,
                    programs,
                    port=ports[kind],
                    identity=self.identity,
                )
                for kind in KINDS
            }
        return {kind: ran.result() for kind, ran in running.items()}

    def _interpreter(self, environment: Environment, kind: str) -> Interpreter:
        """Return the one of a kind's programs, of which the first finds it fresh."""
        if (str(environment), kind) not in self._interpreters:
            made = Interpreter(environment)
            self._interpreters[str(environment), kind] = made
        return self._interpreters[str(environment), kind]


@pytest.fixture(scope="package")
def results(
    started: dict[str, Server], main_server: Server, identity: Identity, say: Say
) -> Iterator[Results]:
    """What the programs printed, asking vLLM and the protected main server."""
    ports = {"plain": started["unprotected"].port, "protected": main_server.port}
    embedders = {kind: started[f"{kind} embedder"].port for kind in KINDS}
    results = Results(ports, embedders, identity.fingerprint, say)
    yield results
    results.end()


@pytest.fixture(scope="package")
def words(folder: Path) -> Detector:
    """Finds what the programs ask, and what they are answered."""
    return Detector(MODEL_PATH, (*CANARIES, *PROMPT_WORDS))
