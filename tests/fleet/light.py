"""Fleets of light replicas: real processes behind real routers, without a model."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stainedglass_output_protection.protocol.constants import DOCUMENT_PATH
from stainedglass_output_protection.protocol.identity import IdentityKey
from tests.fleet.engine import GOES_ON_VARIABLE
from tests.vllm_integration.fleet.conftest import SEALED_LIMIT
from tests.vllm_integration.fleet.keys import sg_vllm_keys
from tests.vllm_integration.servers import Server, free_port, launch, tail, wait_for

_START_LIMIT_S = 120.0


@dataclass(frozen=True)
class Fleet:
    """What its replicas share: an identity, a secret, settings and a folder for logs.

    Its epochs change every second; what is sealed to a key finds it a minute later.
    """

    folder: Path
    identity: str
    variables: dict[str, str]

    @classmethod
    def make(cls, folder: Path) -> Fleet:
        """Make the files that an operator makes."""
        key = IdentityKey.generate()
        pem, secret = folder / "identity.pem", folder / "fleet.key"
        pem.touch(mode=0o600)
        pem.write_bytes(key.to_pem())
        times = ("--period", "1", "--overlap", "60")
        sg_vllm_keys("generate", "--fleet", secret, *times)
        variables = {
            "SG_IDENTITY_KEY_FILE": str(pem),
            "SG_FLEET_SECRET_FILE": str(secret),
            "SG_MAX_SEALED_REQUEST_BYTES": str(SEALED_LIMIT),
            GOES_ON_VARIABLE: str(folder / "goes-on"),
        }
        return cls(folder, key.fingerprint, variables)

    def having(self, **variables: str) -> Fleet:
        """Return it with other variables."""
        return replace(self, variables={**self.variables, **variables})

    @contextlib.contextmanager
    def replicas(self, *names: str) -> Iterator[list[Server]]:
        """Run replicas with these names."""
        with contextlib.ExitStack() as stack:
            started = []
            for name in names:
                port = free_port()
                command = ("tests.fleet.replica", "--port", str(port))
                launched = launch(name, command, self.folder, self.variables)
                server = Server(port, *launched)
                stack.callback(server.end)
                started.append(server)
            for server in started:
                up = _Up(server)
                wait_for(up, f"{server.log_path.stem} to be up", _START_LIMIT_S)
            yield started


def key_id_at(server: Server) -> str:
    """Return the id of the key that requests are to be sealed to now."""
    with urllib.request.urlopen(server.url + DOCUMENT_PATH, timeout=60) as answer:
        return str(json.load(answer)["key_id"])


class _Up:
    def __init__(self, server: Server) -> None:
        self._server = server

    def __call__(self) -> bool:
        assert self._server.process.poll() is None, tail(self._server.log_path)
        with contextlib.suppress(OSError):
            key_id_at(self._server)
            return True
        return False
