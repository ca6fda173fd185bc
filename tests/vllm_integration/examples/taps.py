"""Where a program connects to: a gateway that keeps what it carries, or makes trouble."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.vllm_integration.attacks.relay import Relay, Reply, Request, serving
from tests.vllm_integration.servers import wait_for
from tests.vllm_integration.tcp_tap import TcpTap

_LIMIT_S = 300.0


class Tap:
    """Where a program connects to, and what has gone through."""

    def __init__(self, through: TcpTap | Relay) -> None:
        self._through = through
        self.url = through.url

    @property
    def seen(self) -> bytes:
        """Every byte of both directions."""
        if isinstance(self._through, Relay):
            return self._through.seen
        return b"\n".join([*self._through.from_client, *self._through.from_server])

    @property
    def connections(self) -> int:
        """How many connections the program made; of a relay nobody asks."""
        return 0 if isinstance(self._through, Relay) else len(self._through.from_client)


@contextlib.contextmanager
def tapped(name: str, port: int) -> Iterator[Tap]:
    """Put between a program and a server what the program is about."""
    if name in _MOVES:
        with serving(Relay(port, _MOVES[name])) as relay:
            yield Tap(relay)
    else:
        with TcpTap(port) as tap:
            yield Tap(tap)


def _refuse_twice(relay: Relay, request: Request) -> Reply:
    """Do what a gateway does whose servers are all busy at first."""
    if request.is_for_a_document or len(relay.sealed) > 2:
        return relay.forward(request)
    return _UNAVAILABLE


def _answer_the_patient(relay: Relay, request: Request) -> Reply:
    """Hold what waits for less than a second until something more patient has come."""
    if _patience(request) == "0.5":
        wait_for(
            lambda: "600" in map(_patience, relay.sealed),
            "a more patient request",
            _LIMIT_S,
        )
        return _UNAVAILABLE
    return relay.forward(request)


def _patience(request: Request) -> str:
    return dict(request.headers).get("x-stainless-read-timeout", "")


_UNAVAILABLE = Reply(503, (("content-type", "text/plain"),), b"no server is free")
_MOVES = {"openai_retries": _refuse_twice, "openai_timeouts": _answer_the_patient}
