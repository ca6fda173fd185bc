"""The routers that stand before light replicas.

PyPI's ``vllm-router`` is there always. The router of vLLM's production-stack is on no
index: the variable ``SG_TEST_PRODUCTION_STACK`` names a Python that has it installed, or
a checkout that has one as ``.venv/bin/python``; without it, its tests are skipped::

    python3.12 -m venv /opt/stack && /opt/stack/bin/pip install ./production-stack
    SG_TEST_PRODUCTION_STACK=/opt/stack/bin/python scripts/test tests/fleet
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.engine import MODEL
from tests.vllm_integration.fleet.router import Router, routing, running
from tests.vllm_integration.servers import free_port

STACK_VARIABLE = "SG_TEST_PRODUCTION_STACK"
SESSION_HEADER = "x-session-id"

_STOPPED_BY_STACK = (
    *("garbage", "garbage_with_a_prefix", "model_of_another"),
    *("garbage_in_a_header", "long_header", "oversized_header"),
)


@dataclass(frozen=True)
class Kind:
    """A router and how it chooses a worker."""

    policy: str
    is_stack: bool = False

    def __str__(self) -> str:
        return f"production-stack {self.policy}" if self.is_stack else self.policy

    def answers_itself(self, kind: str) -> bool:
        """Tell whether this kind of malformed request gets no further than the router."""
        return self.is_stack and kind in _STOPPED_BY_STACK

    @contextlib.contextmanager
    def running(
        self, name: str, folder: Path, *urls: str, options: Sequence[str] = ()
    ) -> Iterator[Router]:
        """Run it before the workers at ``urls``; a dead worker is another one's work."""
        routing_it = _stack_routing if self.is_stack else routing
        choices: dict[str, Any] = {"policy": self.policy, "options": options}
        with routing_it(name, folder, *urls, **choices) as router:
            yield router


RUST = [Kind("round_robin"), Kind("consistent_hash"), Kind("cache_aware")]
STACK = [Kind("roundrobin", is_stack=True), Kind("session", is_stack=True)]
KINDS = [*RUST, *STACK]


@dataclass
class StackRouter(Router):
    """A running router of production-stack. It has no circuit breaker to look at."""

    def metrics_text(self) -> str:
        """Return its own metrics as it shows them."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:
            text: str = answer.read().decode()
        return text

    def troubles(self) -> dict[str, float]:
        """Return nothing: it holds nothing against a worker that answers."""
        assert "vllm:healthy_pods_total" in self.metrics_text()
        return {}


@contextlib.contextmanager
def _stack_routing(
    name: str, folder: Path, *urls: str, policy: str, options: Sequence[str]
) -> Iterator[Router]:
    port, log_path = free_port(), folder / f"{name}.log"
    command = [
        *(_stack_python(), "-m", "vllm_router.app"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--service-discovery", "static", "--static-backends", ",".join(urls)),
        *("--static-models", ",".join([MODEL] * len(urls))),
        *("--routing-logic", policy, "--session-key", SESSION_HEADER),
        *("--max-instance-failover-reroute-attempts", "2"),
        *options,
    ]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            # Away from here, or its module would be looked for among ours.
            cwd=folder,
            env={"PATH": os.defpath, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    with running(name, StackRouter(port, process, log_path)) as router:
        yield router


def _stack_python() -> str:
    named = os.environ.get(STACK_VARIABLE)
    if not named:
        pytest.skip(f"no production-stack: {STACK_VARIABLE} names a Python that has it")
    path = Path(named)
    return str(path / ".venv" / "bin" / "python" if path.is_dir() else path)
