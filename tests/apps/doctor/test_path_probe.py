"""What the server does only to show a path: its probe, and the error that is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from stainedglass_output_protection.server import provoked_error
from tests.apps.doctor.conftest import Examine
from tests.gateways.simulator import FAULTS, Gateway
from tests.gateways.traffic import (
    Act,
    Answer,
    Asked,
    Forward,
    Headers,
    on_headers,
    pieces,
)
from tests.gateways.upstream import Upstream

PROBE = "x-output-protection-probe"
SHOWN = {"comments", "repeated-headers"}


class Counting:
    """Notes the statuses of the server's answers."""

    def __init__(self) -> None:
        self.statuses: list[int] = []

    async def __call__(self, asked: Asked, forward: Forward) -> Answer:
        answer = await forward(asked)
        self.statuses.append(answer.status)
        return answer


def in_place_of_the_probe(answer: Callable[[], Answer]) -> Act:
    async def act(asked: Asked, forward: Forward) -> Answer:
        return answer() if asked.path.endswith("/probe") else await forward(asked)

    return act


@pytest.mark.parametrize(("options", "errors"), [((), 0), (("--provoke-error",), 1)])
def test_one_error_is_provoked_and_only_where_that_is_asked_for(
    server: Upstream,
    gateway: Gateway,
    examine: Examine,
    options: tuple[str, ...],
    errors: int,
) -> None:
    seen = Counting()
    gateway.use_acts(seen)

    report = examine(
        *(gateway.base_url, "--json", "--identity", server.fingerprint, *options)
    )

    assert sum(status >= 500 for status in seen.statuses) == errors
    assert ("retries" in report.of("ok")) == bool(errors)


def test_an_error_that_is_sent_again_is_sent_again_once(
    server: Upstream, gateway: Gateway, examine: Examine
) -> None:
    seen = Counting()
    gateway.use_acts(FAULTS["retries_server_errors"].make(), seen)

    report = examine(
        *(gateway.base_url, "--json", "--identity", server.fingerprint),
        "--provoke-error",
    )

    assert (report.status, set(report.findings)) == (0, {"retries"})
    assert [it for it in seen.statuses if it == 503 or it == 425] == [503, 425]


def test_a_server_that_gave_an_error_just_now_gives_no_other(
    server: Upstream,
    examine: Examine,
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = (gateway.base_url, "--json", "--identity", server.fingerprint)
    seen = Counting()
    gateway.use_acts(seen)
    monkeypatch.setattr(provoked_error, "_APART_S", math.inf)
    monkeypatch.setattr(provoked_error.PROVOKED_ERRORS, "_next_s", -math.inf)

    first, second = (examine(*asked, "--provoke-error") for _ in range(2))

    assert "retries" in first.of("ok")
    assert "within the last minute" in second.of("not_tested")["retries"]
    assert (second.status, second.findings) == (0, {})
    assert seen.statuses.count(503) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_server_without_a_probe_or_a_path_that_hides_it_is_no_finding(
    server: Upstream, gateway: Gateway, examine: Examine, status: int
) -> None:
    page = [("content-type", "text/html")]
    gateway.use_acts(
        in_place_of_the_probe(lambda: Answer(status, page, pieces(b"none")))
    )

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, report.findings) == (0, {})
    unseen = {it: why for it, why in report.of("not_tested").items() if it in SHOWN}
    assert unseen.keys() == SHOWN
    assert all(f"status {status}" in why for why in unseen.values())


@pytest.mark.parametrize(
    "body",
    [b"", b"none", b"data: x\n\n", b": output-protection probe\n\n", b"\xff" * 99],
)
def test_what_is_not_the_probe_tells_nothing(
    server: Upstream, gateway: Gateway, examine: Examine, body: bytes
) -> None:
    events = [("content-type", "text/event-stream"), (PROBE, "one, two")]
    gateway.use_acts(in_place_of_the_probe(lambda: Answer(200, events, pieces(body))))

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, report.findings) == (0, {})
    assert SHOWN <= report.of("not_tested").keys()


def changing(change: Callable[[str], list[str]]) -> Act:
    """Return the act of writing other values in place of each of the probe's header."""

    def changed(headers: Headers) -> Headers:
        return [
            (name, it)
            for name, value in headers
            for it in (change(value) if name == PROBE else [value])
        ]

    return on_headers(changed)


@pytest.mark.parametrize(
    ("act", "outcome", "word"),
    [
        (changing(lambda it: [it] if it == "one" else []), "warning", "only one"),
        (changing(lambda it: [it] if it == "two" else []), "warning", "only one"),
        (changing(lambda it: [it, it]), "ok", "as two"),
        (changing(lambda it: ["one,two"] if it == "one" else []), "warning", "joined"),
        (changing(lambda it: ["other"]), "not_tested", "do not arrive"),
    ],
)
def test_what_becomes_of_two_headers_is_told(
    server: Upstream,
    gateway: Gateway,
    examine: Examine,
    act: Act,
    outcome: str,
    word: str,
) -> None:
    gateway.use_acts(act)

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert word in report.of(outcome)["repeated-headers"]
    warned = {"repeated-headers"} if outcome == "warning" else set()
    assert (report.status, set(report.findings)) == (0, warned)
