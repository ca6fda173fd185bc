"""The server that the pages' examples talk to, and what their folders hold."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.client.fake_server import serve
from tests.client.sealed_server import SealedServer, ring_since
from tests.docs.blocks import ROOT
from tests.docs.child import Child
from tests.docs.running import Run, Target
from tests.docs.serving import has_vllm


@dataclass(frozen=True)
class Machine:
    """The key of a trusted machine: what the pages' attestation example goes by."""

    key: Ed25519PrivateKey

    def write_to(self, folder: Path) -> None:
        """Write both halves where the example looks for them."""
        private = self.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        public = self.key.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        (folder / "machine.pem").write_bytes(private)
        (folder / "machine-public.pem").write_bytes(public)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name in list(os.environ):
        if name.startswith(("SG_", "OPENAI_")) or name.lower() in proxies:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def machine() -> Machine:
    """The machine that makes the server's attestation evidence."""
    return Machine(Ed25519PrivateKey.generate())


@pytest.fixture(scope="session")
def target(machine: Machine) -> Iterator[Target]:
    """A protected server without vLLM: the real middleware before canned answers."""
    with serve(SealedServer(ring=ring_since(evidence=machine.key.sign))) as server:
        assert isinstance(server, SealedServer)
        yield Target(server.base_url.removesuffix("/v1"), server.fingerprint)


@pytest.fixture(scope="session")
def parser() -> Iterator[Child | None]:
    """vLLM's parser, where there is a vLLM."""
    if not has_vllm():
        yield None
        return
    parser = Child([sys.executable, "-m", "tests.docs.serving"], ROOT, os.environ)
    yield parser
    parser.end()


@pytest.fixture
def begin(tmp_path: Path, machine: Machine) -> Iterator[Callable[..., Run]]:
    """Begins the run of a page, and ends at the end what it left running."""
    begun: list[Run] = []

    def begin_at(target: Target, **options: object) -> Run:
        machine.write_to(tmp_path)
        begun.append(Run(tmp_path, target, **options))  # type: ignore[arg-type]
        return begun[-1]

    yield begin_at
    for run in begun:
        run.end()
