"""Puts a sidecar on a port: in this process, or as the command it is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from stainedglass_output_protection.apps.forwarding import Limits
from stainedglass_output_protection.apps.serving import config_of
from stainedglass_output_protection.apps.sidecar.application import make_sidecar
from stainedglass_output_protection.apps.sidecar.upstream import connect
from stainedglass_output_protection.client import protected_client
from tests.apps.proxy.running import served
from tests.asgi.applications import CHAT, Identity, Tapped
from tests.asgi.serving import TIMEOUT_S, fetched

SG_VLLM = (
    *(sys.executable, "-c"),
    "from stainedglass_output_protection.apps.cli import main; main()",
)
READY = "/.well-known/output-protection/ready"
END_LIMIT_S = 60


@dataclass(frozen=True)
class Running:
    """Where a sidecar is, and what the network hears of it."""

    url: str
    tapped: Tapped

    @property
    def wire(self) -> bytes:
        return self.tapped.wire

    def ready(self) -> tuple[int, str]:
        """Return what its readiness says."""
        told = fetched(self.url + READY)
        return told.status_code, told.json().get("reason", "")


@contextlib.contextmanager
def beside(
    address: str, *, limits: Limits | None = None, grace_s: int = 10, **choices: Any
) -> Iterator[Running]:
    """Run the sidecar of an engine in this process."""
    upstream = connect(address, ca_file=None, allow_clear=False)
    # However slow the machine, an engine that is well answers its probe in time.
    choices.setdefault("health_s", TIMEOUT_S)
    tapped = Tapped(make_sidecar(upstream, limits=limits or Limits(), **choices))
    with served(config_of(tapped, grace_s=grace_s)) as port:
        yield Running(f"http://127.0.0.1:{port}", tapped)


def client_of(identity: Identity, **choices: Any) -> Any:
    """Return a protected HTTP client that has pinned the sidecar."""
    return protected_client(
        identity=identity.fingerprint,
        **{"trust_env": False, "timeout": TIMEOUT_S, **choices},
    )


@contextlib.contextmanager
def sdk_of(url: str, identity: Identity, **choices: Any) -> Iterator[openai.OpenAI]:
    """Yield an SDK that asks once."""
    client = client_of(identity, **choices)
    with openai.OpenAI(
        base_url=f"{url}/v1", api_key="k", http_client=client, max_retries=0
    ) as sdk:
        yield sdk


def posted(url: str, identity: Identity, body: Any, **choices: Any) -> httpx2.Response:
    """Ask, and return what a client reads of the answer."""
    with client_of(identity, **choices) as client:
        told: httpx2.Response = client.post(url + CHAT, json=body)
    return told


@dataclass
class Command:
    """A process; ``url`` is where it listens."""

    process: subprocess.Popen[str]
    url: str
    said: str

    def stop(self) -> None:
        """Tell it to end, as a service manager does."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return the exit status and its log."""
        _, log = self.process.communicate(timeout=END_LIMIT_S)
        return self.process.returncode, log


@contextlib.contextmanager
def command(*options: str, **variables: str) -> Iterator[Command]:
    """Start the command, on a free port if none is given, and end it for certain."""
    where = () if "--uds" in options else ("--port", "0")
    process = subprocess.Popen(
        [*SG_VLLM, "sidecar", *where, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    try:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        assert second, process.communicate()[1]
        yield Command(process, first.rpartition(" ")[2].strip(), first + second)
    finally:
        process.kill()
        process.communicate()


def refused(*options: str, **variables: str) -> str:
    """Run the command, which must end with status 2 and one sentence; return it."""
    done = subprocess.run(
        [*SG_VLLM, "sidecar", *options],
        capture_output=True,
        text=True,
        timeout=END_LIMIT_S,
        env={**os.environ, **variables},
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
