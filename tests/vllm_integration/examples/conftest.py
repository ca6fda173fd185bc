"""vLLM without protection beside the protected one, and what each program said of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tiny_dialogues import CANARIES
from tests.vllm_integration.conftest import PLAIN, SG_VLLM, Identity, Say
from tests.vllm_integration.examples.programs import (
    EMBEDDING,
    ENVIRONMENTS,
    Environment,
    Ran,
    run_all,
)
from tests.vllm_integration.leaks import PROMPT_WORDS, Detector
from tests.vllm_integration.servers import MODEL_PATH, QUICK, Server, start

_EMBEDS = (*QUICK, "--runner", "pooling", "--convert", "embed")
KINDS = ("plain", "protected")


@pytest.fixture(scope="package")
def vllm(folder: Path, say: Say) -> Iterator[Server]:
    """``vllm serve``, as it is without this package."""
    server = start("unprotected", (*PLAIN, *QUICK), folder, variables={}, say=say)
    yield server
    server.end()


@dataclass
class Results:
    """What came of the programs of an environment, run when first asked for."""

    ports: dict[str, int]
    identity: str
    say: Say
    _known: dict[tuple[str, str], dict[str, Ran]] = field(default_factory=dict)

    def of(self, environment: Environment, program: str) -> tuple[Ran, Ran]:
        """Return what came of a program, plain and protected."""
        for kind in KINDS:
            if (str(environment), kind) not in self._known:
                self._known[str(environment), kind] = self.run(
                    environment, kind, environment.programs()
                )
        plain, protected = (self._known[str(environment), kind] for kind in KINDS)
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
        return run_all(
            environment,
            kind,
            programs,
            port=self.ports[kind],
            identity=identity or self.identity,
        )


@pytest.fixture(scope="package")
def results(vllm: Server, main_server: Server, identity: Identity, say: Say) -> Results:
    """What the programs printed, asking vLLM and the protected main server."""
    ports = {"plain": vllm.port, "protected": main_server.port}
    return Results(ports, identity.fingerprint, say)


@pytest.fixture(scope="package")
def words(folder: Path) -> Detector:
    """Finds what the programs ask, and what they are answered."""
    return Detector(MODEL_PATH, (*CANARIES, *PROMPT_WORDS))


@pytest.fixture(scope="package")
def embedded(folder: Path, identity: Identity, say: Say) -> dict[tuple[str, str], Ran]:
    """What the embedding program printed, by environment and kind."""
    commands = {"plain": PLAIN, "protected": SG_VLLM}
    found = {}
    for kind in KINDS:
        server = start(
            f"{kind} embedder",
            (*commands[kind], *_EMBEDS),
            folder,
            variables={"SG_IDENTITY_KEY_FILE": str(identity.path)},
            say=say,
        )
        try:
            for environment in ENVIRONMENTS:
                ran = run_all(
                    environment,
                    kind,
                    [EMBEDDING],
                    port=server.port,
                    identity=identity.fingerprint,
                )
                found[str(environment), kind] = ran[EMBEDDING]
        finally:
            server.end()
    return found
