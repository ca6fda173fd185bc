"""What the log and the metrics of a server have noted of requests and keys."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from typing import Any

from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.servers import Server
from tests.vllm_integration.test_operating import samples

_REFUSED = re.compile(
    r"request id=\S+ route=\S+ status=422 outcome=refused code=key_unknown "
)
_FINISHED = re.compile(r"^vllm:request_success_total(?:{.*})? (\S+)$", re.M)


@dataclass(frozen=True)
class Noted:
    """What a server has counted until now.

    ``requests`` and ``refused`` are the protection's, ``lines`` those of its log about
    such refusals, ``ran`` how many requests the engine has finished.
    """

    requests: int
    refused: int
    lines: int
    ran: int

    def __sub__(self, other: Noted) -> Noted:
        return Noted(
            self.requests - other.requests,
            self.refused - other.refused,
            self.lines - other.lines,
            self.ran - other.ran,
        )


def noted(server: Server) -> Noted:
    """Return what a server has counted until now."""
    text = _metrics_text(server)
    ours = samples(text)
    return Noted(
        requests=round(_sum_of(ours, "requests_total")),
        refused=round(_sum_of(ours, "refusals_total", code="key_unknown")),
        lines=len(_REFUSED.findall(server.log)),
        ran=round(sum(map(float, _FINISHED.findall(text)))),
    )


def epochs_of(server: Server) -> tuple[int, int]:
    """Return the period of a server's epochs and their place in it (milliseconds)."""
    ours = samples(_metrics_text(server))
    period = round(1000 * _sum_of(ours, "key_period_seconds"))
    return period, round(1000 * _sum_of(ours, "key_start_timestamp_seconds")) % period


def _metrics_text(server: Server) -> str:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=TIMEOUT_S) as answer:
        text: str = answer.read().decode()
    return text


def _sum_of(found: dict[Any, float], name: str, **labels: str) -> float:
    wanted = frozenset(labels.items())
    return sum(
        value for (it, these), value in found.items() if it == name and wanted <= these
    )
