"""Key documents that something on the way has kept."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server import sealed_requests
from stainedglass_output_protection.server.clock import unix_ms
from tests.apps.doctor.conftest import Examine, engine_of, serving
from tests.client.sealed_server import HOUR_MS, ring_since
from tests.gateways.simulator import Gateway
from tests.gateways.traffic import Act, Answer, Asked, Forward, pieces, whole
from tests.gateways.upstream import Upstream

MINUTE_MS = 60_000


class Keeps:
    """Answers with the document that it once got, and says how old it is if told to."""

    def __init__(self, text: str | None = None, age: str | None = None) -> None:
        self.text = text
        self.age = age

    async def __call__(self, asked: Asked, forward: Forward) -> Answer:
        answer = await forward(asked)
        if not asked.is_for_document:
            return answer
        body = await whole(answer.body)
        if self.text is not None:
            body = b'{"document":"%s"}' % self.text.encode()
        headers = [*answer.headers, ("age", self.age)] if self.age else answer.headers
        return Answer(answer.status, headers, pieces(body))


def saying(now: Callable[[int], Any]) -> Act:
    """Return the act of changing the time that is said beside the document."""

    async def act(asked: Asked, forward: Forward) -> Answer:
        answer = await forward(asked)
        if not asked.is_for_document:
            return answer
        members = json.loads(await whole(answer.body))
        members["now"] = now(members["now"])
        kept = [it for it in answer.headers if it[0] != "content-length"]
        body = pieces(json.dumps(members).encode())
        return replace(answer, headers=kept, body=body)

    return act


@pytest.mark.parametrize(
    ("minutes", "found"),
    [
        (10, {"key-document"}),
        # It may have been fetched before the epoch began, or from a slower replica.
        (1, set()),
    ],
)
def test_a_document_of_an_earlier_epoch_is_named(
    examine: Examine, minutes: int, found: set[str]
) -> None:
    now = unix_ms()
    ring = ring_since(now - HOUR_MS - minutes * MINUTE_MS)
    earlier = ring.current(now - HOUR_MS).document_text
    ring.tick(now - minutes * MINUTE_MS)
    with serving(ring=ring) as server, Gateway(server.port) as gateway:
        gateway.use_acts(Keeps(earlier))
        report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, set(report.findings)) == (0, found)
    assert ("cache" in report.findings.get("key-document", "")) == bool(found)


@pytest.mark.parametrize(
    ("age", "is_named"), [("120", True), ("0", False), ("", False), ("old", False)]
)
def test_a_cache_that_says_so_is_named(
    server: Upstream, gateway: Gateway, examine: Examine, age: str, is_named: bool
) -> None:
    gateway.use_acts(Keeps(age=age))

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, "key-document" in report.findings) == (0, is_named)


def test_replicas_with_keys_of_their_own_are_no_cache(examine: Examine) -> None:
    identity = IdentityKey.generate()
    old = ring_since(unix_ms() - 50 * MINUTE_MS, identity=identity)
    new = ring_since(unix_ms() - 20 * MINUTE_MS, identity=identity)
    with (
        serving(ring=old) as one,
        serving(ring=new) as other,
        Gateway(one.port, "alternates_servers", other_port=other.port) as gateway,
    ):
        report = examine(gateway.base_url, "--json", "--identity", one.fingerprint)

    assert set(report.findings) == {"replicas"}


@pytest.mark.parametrize(
    ("minutes", "is_named"), [(0, False), (4, False), (6, True), (-6, False)]
)
def test_an_answer_that_was_given_long_before_the_run_is_named(
    server: Upstream,
    gateway: Gateway,
    examine: Examine,
    minutes: int,
    is_named: bool,
) -> None:
    # Two caches with a copy each: the answers differ.
    gateway.use_acts(saying(lambda now: now - minutes * MINUTE_MS))

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    found = {"key-document"} if is_named else set()
    assert (report.status, set(report.findings)) == (0, found)
    assert ("cache" in report.findings.get("key-document", "")) == is_named


@pytest.mark.parametrize("now", [None, "1", "", True, 1.5, 0, -1, [], {}])
def test_what_is_no_time_tells_nothing(
    server: Upstream, gateway: Gateway, examine: Examine, now: Any
) -> None:
    gateway.use_acts(saying(lambda _: now))

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, report.findings) == (0, {})


def test_a_server_that_does_not_say_its_time_is_no_cache(
    server: Upstream, gateway: Gateway, examine: Examine
) -> None:
    text = server.ring.current(unix_ms()).document_text
    gateway.use_acts(Keeps(text))

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, report.findings) == (0, {})


def test_replicas_with_clocks_of_their_own_are_no_cache(
    server: Upstream, gateway: Gateway, examine: Examine
) -> None:
    late_ms = itertools.cycle([0, 4 * MINUTE_MS])
    gateway.use_acts(saying(lambda now: now - next(late_ms)))

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, report.findings) == (0, {})


def test_a_server_whose_clock_is_late_is_no_cache(
    server: Upstream,
    gateway: Gateway,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late_ms = 10 * MINUTE_MS
    monkeypatch.setattr(sealed_requests, "unix_ms", lambda: unix_ms() - late_ms)
    gateway.use_acts(saying(lambda now: now - late_ms))

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, set(report.findings)) == (1, {"clock"})


@pytest.mark.parametrize(
    ("dated_min", "said_min"),
    [
        # The date is a gateway's, by a clock that is ahead.
        (10, 0),
        # It is this machine's clock that is ahead.
        (-10, -10),
    ],
)
def test_a_clock_elsewhere_makes_no_answer_old(
    examine: Examine, dated_min: int, said_min: int
) -> None:
    with serving() as server, Gateway(server.port) as gateway:
        engine_of(server).ahead_s = dated_min * 60
        gateway.use_acts(saying(lambda now: now + said_min * MINUTE_MS))
        report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, set(report.findings)) == (0, {"clock"})


def test_the_run_ends_where_the_second_document_is_of_another_server(
    server: Upstream, examine: Examine
) -> None:
    asked_for = itertools.count(1)

    async def moves(asked: Asked, forward: Forward) -> Answer:
        if asked.is_for_document and next(asked_for) > 1:
            asked = replace(asked, goes_elsewhere=True)
        return await forward(asked)

    with serving() as other, Gateway(server.port, other_port=other.port) as gateway:
        gateway.use_acts(moves)
        report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, set(report.faults)) == (1, {"identity"})
    assert next(asked_for) == 3
