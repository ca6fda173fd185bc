"""PyPI's ``vllm-router``: the router of the vLLM project, which is written in Rust."""

from __future__ import annotations

import contextlib
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vllm_integration.servers import (
    Server,
    free_port,
    launch,
    wait_for,
)

_START_LIMIT_S = 120.0
_METRIC = re.compile(r"^(vllm_router_\w+(?:{.*})?) (\S+)$", re.M)
# What the router holds against a worker, or has done about it. 0 is closed, as it should.
_TROUBLES = (
    'outcome="failure"',
    "vllm_router_cb_state",
    "vllm_router_retries_total",
    "vllm_router_retries_exhausted_total",
)


@dataclass
class Router(Server):
    """A running router."""

    metrics_port: int = 0

    def metrics_text(self) -> str:
        """Return its own metrics as it shows them."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=60) as answer:
            text: str = answer.read().decode()
        return text

    def metrics(self) -> dict[str, float]:
        """Return its own metrics."""
        found = _METRIC.findall(self.metrics_text())
        return {name: float(value) for name, value in found}

    def troubles(self) -> dict[str, float]:
        """Return the metrics that say that something was wrong with a worker."""
        metrics = self.metrics()
        assert any("cb_outcomes" in name for name in metrics)
        return {
            name: value
            for name, value in metrics.items()
            if (value != 0 and any(word in name for word in _TROUBLES))
            or (value != 1 and "worker_health" in name)
        }

    def sees_all(self) -> bool:
        """Tell whether all of its workers are well, as far as it knows."""
        metrics = self.metrics()
        return {it for name, it in metrics.items() if "worker_health" in name} == {1}


@contextlib.contextmanager
def routing(
    name: str,
    folder: Path,
    *urls: str,
    policy: str = "round_robin",
    options: Sequence[str] = (),
) -> Iterator[Router]:
    """Run a router before the workers at ``urls``; ``options`` are more of its own."""
    options = ("--worker-urls", *urls, "--policy", policy, *options)
    with routing_as(name, folder, options) as router:
        yield router


@contextlib.contextmanager
def routing_as(name: str, folder: Path, options: Sequence[str]) -> Iterator[Router]:
    """Run a router that is told by ``options`` alone where to."""
    port, metrics_port = free_port(), free_port()
    process, log_path = launch(
        name,
        (
            "vllm_router.launch_router",
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--prometheus-host", "127.0.0.1"),
            *("--prometheus-port", str(metrics_port)),
            *("--worker-startup-check-interval", "1"),
            *options,
        ),
        folder,
        {},
    )
    router = Router(port, process, log_path, metrics_port=metrics_port)
    with running(name, router):
        yield router


@contextlib.contextmanager
def running(name: str, router: Router) -> Iterator[Router]:
    """Wait for a router that was started, and end it after the block."""
    try:
        wait_for(lambda: _is_up(router), f"{name} to be up", _START_LIMIT_S)
        yield router
    finally:
        router.end()


def _is_up(router: Router) -> bool:
    assert router.process.poll() is None, router.log
    try:
        urllib.request.urlopen(f"{router.url}/health", timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False
    return True
