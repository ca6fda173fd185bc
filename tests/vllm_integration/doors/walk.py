"""Walks through every door of one running server and keeps what was seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import httpx2

from stainedglass_output_protection.client.verdict import Mark
from stainedglass_output_protection.errors import OutputProtectionError
from tests.vllm_integration.asking import TIMEOUT_S, Answer, Asker, new_test_id
from tests.vllm_integration.doors.clear_bodies import MOUNT
from tests.vllm_integration.doors.door import Ask, Door, Facts, dumped
from tests.vllm_integration.servers import Emitted, Server, wait_for

Key = tuple[str, str]
_NUMBER = re.compile(rb"-?\d\.\d{6,}")
_PRINTED = re.compile(rb"[A-Za-z0-9+/]{48,}")
_PIECE = 16
# What is compared is what vLLM sent, not what a client unpacks from it.
_PLAIN = {"accept-encoding": "identity"}


@dataclass
class Visit:
    """One request: the answer that was opened, and what vLLM's app had sent."""

    method: str
    route: str
    ask: Ask
    answer: Answer | None
    emitted: Emitted | None
    error: str = ""

    def __str__(self) -> str:
        status = self.answer.status if self.answer else self.error
        body = self.answer.body[:300] if self.answer else b""
        return f"{self.method} {self.route} {self.ask.body!r:.80} -> {status} {body!r}"


@dataclass
class Walk:
    """Everything that was seen at one server."""

    server: Server
    doors: dict[Key, Door]
    routes: list[tuple[str, str, str]]
    valid: list[Visit] = field(default_factory=list)
    invalid: list[Visit] = field(default_factory=list)
    keyless: list[tuple[Key, httpx2.Response, bool]] = field(default_factory=list)
    wire: bytes = b""
    traces: bytes = b""
    written: dict[Path, bytes] = field(default_factory=dict)

    @property
    def mounted(self) -> set[Key]:
        """Method and path of every route of the server's app."""
        return {(method, path) for _, method, path in self.routes}

    @cached_property
    def numbers(self) -> set[bytes]:
        """What vLLM computed and no request holds: scores, vectors, probabilities."""
        found: set[bytes] = set()
        for visit in self.valid:
            if visit.emitted is None or self.doors[visit.method, visit.route].is_clear:
                continue
            body = visit.emitted.body
            if visit.emitted.content_type == "application/octet-stream":
                found |= {body[at : at + _PIECE] for at in range(0, len(body), _PIECE)}
            else:
                found |= {*_NUMBER.findall(body), *_PRINTED.findall(body)}
        # Zeros are nothing that was computed, and are everywhere.
        return {item for item in found if len(item) >= 8 and any(item)}


def routes_of(server: Server) -> list[tuple[str, str, str]]:
    """Return what the server's app mounts, as the tap found it."""
    path = Path(f"{server.tap_path}.routes")
    wait_for(path.exists, "the server's routes")
    return [
        (kind, method, route) for kind, method, route in json.loads(path.read_text())
    ]


def written_by(server: Server, folder: Path) -> dict[Path, bytes]:
    """Return the files that the server opened for writing, and those in ``folder``."""
    names = Path(f"{server.tap_path}.written").read_text().splitlines()
    own = {server.log_path, server.tap_path}
    paths = {Path(json.loads(name)) for name in set(names)} | {*folder.rglob("*")}
    return {
        path: path.read_bytes()
        for path in paths
        if path.is_file()
        and not path.is_relative_to("/proc")
        and not path.is_relative_to("/dev")
        and not any(path.name.startswith(item.name) for item in own if item)
    }


def walk_through(walk: Walk, asker: Asker, facts: Facts) -> None:
    """Try every mounted door in the order of the table, then each without a key."""
    mounted = walk.mounted
    with httpx2.Client(base_url=str(asker.client.base_url), timeout=TIMEOUT_S) as http:
        for (method, route), door in walk.doors.items():
            if (method, route) not in mounted:
                continue
            for asks, visits in (
                (door.valid, walk.valid),
                (door.invalid, walk.invalid),
            ):
                visits += [
                    _visit(walk.server, asker, facts, method, route, a) for a in asks
                ]
            if not door.is_clear:
                walk.keyless.append(_without_key(walk.server, http, method, route))


def _visit(
    server: Server, asker: Asker, facts: Facts, method: str, route: str, ask: Ask
) -> Visit:
    try:
        body = dumped(ask.body(facts) if callable(ask.body) else ask.body)
        path = ask.path(facts) if callable(ask.path) else ask.path or route
        answer = asker.ask(
            path,
            body,
            method=_method_of(method, route, ask),
            headers=_PLAIN | ({"content-type": ask.content_type} if body else {}),
            name=f"{method}{route}",
        )
    except (OutputProtectionError, httpx2.HTTPError, KeyError) as error:
        return Visit(method, route, ask, None, None, f"{type(error).__name__}: {error}")
    emitted = _emitted(server, answer.test_id)
    if ask.keep and answer.verdict.mark is Mark.OPENED and answer.status < 300:
        first = answer.body.partition(b"data: ")[2] if ask.is_stream else answer.body
        facts.kept[ask.keep] = json.loads(first.partition(b"\n")[0])
    return Visit(method, route, ask, answer, emitted)


def _emitted(server: Server, test_id: str) -> Emitted | None:
    """Return what vLLM's app sent, if it was asked."""
    return server.emitted(test_id) if server.tapped(test_id) else None


def _method_of(method: str, route: str, ask: Ask) -> str:
    if method == MOUNT:
        return "GET"
    # A request that prepares another route's is always a POST.
    return "POST" if isinstance(ask.path, str) and ask.body is not None else method


def _without_key(
    server: Server, http: httpx2.Client, method: str, route: str
) -> tuple[Key, httpx2.Response, bool]:
    test_id = new_test_id("keyless")
    path = re.sub(r"\{\w+\}", "some", route)
    headers = {"x-test-id": test_id, "content-type": "application/json"}
    content = b"" if method == "GET" else b"{}"
    response = http.request(method, path, headers=headers, content=content)
    return (method, route), response, bool(server.tapped(test_id))


def table(walk: Walk) -> Iterator[str]:
    """Yield a line for each mounted method and route: its verdict, or the reason."""
    for method, route in sorted(walk.mounted, key=lambda key: key[::-1]):
        door = walk.doors.get((method, route))
        yield f"{method:6} {route} → {_verdict(walk, method, route, door)}"


def _verdict(walk: Walk, method: str, route: str, door: Door | None) -> str:
    if door is None:
        return "NOT CLASSIFIED"
    if not door.valid:
        return f"not answered here: {door.reason}"
    visits = [v for v in walk.valid if (v.method, v.route) == (method, route)]
    wrong = [v for v in visits if v.emitted is None or v.emitted.status >= 300]
    if wrong:
        return f"NO 2xx: {wrong[0]}"
    marks = {v.answer.verdict.mark.value for v in visits if v.answer}
    return f"{len(visits)} answered by vLLM, {', '.join(sorted(marks))}"
