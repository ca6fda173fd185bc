"""Who answers: identity, clock, replicas, API key, policy; and a path without faults."""

from __future__ import annotations

import email.utils
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from stainedglass_output_protection.protocol.identity import IdentityKey
from stainedglass_output_protection.server import sealed_requests
from stainedglass_output_protection.server.clock import unix_ms
from stainedglass_output_protection.server.policy import KeylessPolicy
from tests.apps.doctor.conftest import (
    Examine,
    engine_of,
    known_servers,
    serving,
    url_of,
)
from tests.client.sealed_server import HOUR_MS, ring_since
from tests.gateways.simulator import Gateway
from tests.gateways.traffic import (
    Answer,
    Asked,
    Forward,
    on_request,
    pieces,
)
from tests.gateways.upstream import Upstream

API_KEY = "sk-secret-of-the-user-1234"


@pytest.mark.parametrize("options", [(), ("--provoke-error",)])
@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_a_clean_path_has_no_finding(
    server: Upstream, examine: Examine, profile: str, options: tuple[str, ...]
) -> None:
    asked = len(server.app.calls)
    report = examine(
        *(url_of(server), "--json", "--identity", server.fingerprint),
        *("--profile", profile, *options),
    )

    assert (report.status, report.err, report.findings) == (0, "", {})
    retries = set() if options else {"retries"}
    assert report.of("not_tested").keys() == {"authorization"} | retries
    assert (report.json["profile"], report.json["protected"]) == (profile, True)
    # What is asked of a model is little, and says nothing of the user's.
    calls = [call.body.decode() for call in server.app.calls[asked:]]
    assert len(calls) <= 16
    bodies = [json.loads(it) for it in calls if it]
    assert {it.get("max_tokens", 0) for it in bodies} <= {1, 2, 4, 96}
    said = [{"role": "user", "content": "Count from one to fifty."}]
    assert all(it.get("messages", said) == said for it in bodies)
    # One is refused for having none, before any model sees it.
    assert sum("messages" not in it for it in bodies) == 1


def test_the_table_has_every_check_and_the_verdict(
    server: Upstream, examine: Examine
) -> None:
    pinned = ("--identity", server.fingerprint)
    names = {
        it["name"] for it in examine(url_of(server), *pinned, "--json").json["checks"]
    }

    table = examine(url_of(server), *pinned)

    assert (table.status, table.err) == (0, "")
    untested = {"authorization", "retries"}
    assert all(f" {name} " in table.out for name in names - untested)
    assert "Not tested: authorization. No API key was given." in table.out
    assert "Not tested: retries. Only with --provoke-error" in table.out
    assert table.out.endswith("Protection holds in profile sealed.\n")


@pytest.mark.parametrize("columns", ["0", "1", "20", "69"])
def test_a_narrow_terminal_cuts_nothing(
    gateway: Gateway,
    server: Upstream,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    columns: str,
) -> None:
    gateway.use("renames_model", "compresses")
    pinned = (gateway.base_url, "--identity", server.fingerprint)
    checks = examine(*pinned, "--json", "--model", "tiny").json["checks"]
    monkeypatch.setenv("COLUMNS", columns)

    shown = "".join(examine(*pinned, "--model", "tiny").out.split())

    assert {"warning", "fault"} <= {it["outcome"] for it in checks}
    for it in checks:
        assert it["name"] in shown
        if it["outcome"] in ("warning", "fault"):
            assert "".join(f"{it['seen']} {it['advice']}".split()) in shown


def test_of_a_server_that_is_not_pinned_nobody_knows_whether_it_is_the_right_one(
    server: Upstream, examine: Examine
) -> None:
    report = examine(url_of(server), "--json")
    table = examine(url_of(server))

    assert (report.status, set(report.findings)) == (1, {"identity"})
    assert (report.faults, report.json["protected"]) == ({}, False)
    assert report.is_one_sentence(1)
    assert report.json["summary"] in report.err
    for said in (report.err, table.err):
        assert "It was not shown that protection holds in profile sealed." in said
        assert "Nothing says whether this is the right server" in said
        assert f"SG_SERVER_IDENTITY={server.fingerprint}\n" in said
    assert table.status == 1
    assert f"SG_SERVER_IDENTITY={server.fingerprint}\n" in table.out
    assert "Protection holds" not in table.out


def test_profile_output_is_judged_without_a_pin_too(
    server: Upstream, examine: Examine
) -> None:
    report = examine(url_of(server), "--json", "--profile", "output")

    assert (report.status, set(report.findings)) == (0, {"identity"})


def test_the_variable_pins_too(
    server: Upstream, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SG_SERVER_IDENTITY", server.fingerprint)

    assert "as pinned" in examine(url_of(server), "--json").of("ok")["identity"]


def test_another_identity_is_a_fault_and_gets_no_api_key(
    server: Upstream,
    gateway: Gateway,
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    other = IdentityKey.generate().fingerprint

    report = examine(gateway.base_url, "--identity", other, "--json")

    assert (report.status, set(report.faults)) == (1, {"identity"})
    assert server.fingerprint in report.err
    assert API_KEY.encode() not in b"".join(call.raw for call in gateway.received)


def test_the_known_servers_decide_where_nothing_is_pinned(
    server: Upstream, examine: Examine, tmp_path: Path
) -> None:
    base_url = url_of(server).removesuffix("/v1")
    known_servers(tmp_path, f"{base_url} {server.fingerprint} 1")

    report = examine(url_of(server), "--json")

    assert "since its first use" in report.of("ok")["identity"]
    assert report.status == 0


def test_a_server_that_has_changed_since_its_first_use_is_a_fault(
    server: Upstream, examine: Examine, tmp_path: Path
) -> None:
    base_url = url_of(server).removesuffix("/v1")
    known_servers(tmp_path, f"{base_url} {IdentityKey.generate().fingerprint} 1")

    report = examine(url_of(server), "--json")

    assert (report.status, set(report.faults)) == (1, {"identity"})


def test_the_file_of_known_servers_is_never_written(
    server: Upstream, examine: Examine, tmp_path: Path
) -> None:
    examine(url_of(server), "--json")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("newer", [False, True])
def test_replicas_that_do_not_share_their_keys_are_named(
    server: Upstream, examine: Examine, newer: bool
) -> None:
    since = unix_ms() - (1_000 if newer else 600_000)
    ring = ring_since(since, identity=server.ring.identity)
    with serving(ring=ring) as other:
        with Gateway(
            server.port, "alternates_servers", other_port=other.port
        ) as gateway:
            report = examine(
                gateway.base_url, "--json", "--identity", server.fingerprint
            )

    assert "replicas" in report.findings
    assert set(report.findings) <= {"replicas"}


def test_replicas_that_do_not_share_their_keys_do_no_harm_in_profile_output(
    server: Upstream, examine: Examine
) -> None:
    ring = ring_since(unix_ms() - 600_000, identity=server.ring.identity)
    with (
        serving(ring=ring) as other,
        Gateway(server.port, "alternates_servers", other_port=other.port) as gateway,
    ):
        pinned = ("--json", "--identity", server.fingerprint)
        report = examine(gateway.base_url, *pinned, "--profile", "output")

    assert report.status == 0
    assert set(report.findings) == {"replicas"}


def test_a_rotation_while_it_looks_is_no_fault(examine: Examine) -> None:
    ring = ring_since(unix_ms() - HOUR_MS * 3 // 2)
    with serving(ring=ring) as server:

        async def rotating(asked: Asked, forward: Forward) -> Answer:
            ring.tick(unix_ms())
            return await forward(asked)

        with Gateway(server.port) as gateway:
            gateway.use_acts(rotating)
            report = examine(
                gateway.base_url, "--json", "--identity", server.fingerprint
            )

    assert (report.status, report.findings) == (0, {})


def test_keys_that_rotate_quickly_are_no_fault(examine: Examine) -> None:
    ring = ring_since(unix_ms(), period_ms=1000)
    with serving(ring=ring) as server:

        async def rotating(asked: Asked, forward: Forward) -> Answer:
            ring.tick(unix_ms())
            return await forward(asked)

        with Gateway(server.port) as gateway:
            gateway.use_acts(rotating)
            report = examine(
                gateway.base_url, "--json", "--identity", server.fingerprint
            )

    assert report.findings.keys() <= {"replicas"}
    assert report.status == 0


@pytest.mark.parametrize(
    ("ahead_s", "word"),
    [(45, "ahead of"), (-45, "behind"), (3000, "ahead of"), (-3000, "behind")],
)
def test_a_clock_that_is_off_is_named(
    examine: Examine, ahead_s: float, word: str
) -> None:
    with serving() as server:
        engine_of(server).ahead_s = ahead_s
        report = examine(url_of(server), "--json", "--identity", server.fingerprint)

    assert (report.status, set(report.findings)) == (0, {"clock"})
    assert word in report.findings["clock"]
    (seconds,) = re.findall(r" (\d+) s ", report.findings["clock"])
    assert abs(int(seconds) - abs(ahead_s)) < 30


@pytest.mark.parametrize(
    ("since", "has_date", "advice"),
    [
        (-3 * HOUR_MS, False, "old key document"),
        (-3 * HOUR_MS, True, "Set this machine's clock"),
        (HOUR_MS, True, "Set this machine's clock"),
    ],
)
def test_an_epoch_that_is_not_valid_now_is_named(
    examine: Examine, since: int, has_date: bool, advice: str
) -> None:
    now_s = unix_ms() / 1000 + (since / 1000 if has_date else 0)
    date = email.utils.formatdate(now_s, usegmt=True)
    ring = ring_since(unix_ms() + since)
    with serving(ring=ring) as server:
        document = ring.current(unix_ms() + since).document_text

        async def old(asked: Asked, forward: Forward) -> Answer:
            answer = await forward(asked)
            if asked.is_for_document:
                body = json.dumps({"document": document}).encode()
                headers = [("content-type", "application/json"), ("date", date)]
                return Answer(200, headers, pieces(body))
            return answer

        with Gateway(server.port) as gateway:
            gateway.use_acts(old)
            report = examine(
                gateway.base_url, "--json", "--identity", server.fingerprint
            )

    assert (report.status, set(report.faults)) == (1, {"clock"})
    assert report.is_one_sentence(1)
    assert advice in report.err


def test_a_clock_that_makes_requests_mistimed_is_named(
    server: Upstream, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_requests, "unix_ms", lambda: unix_ms() - 120_000)

    report = examine(url_of(server), "--json", "--identity", server.fingerprint)

    assert (report.status, set(report.findings)) == (1, {"clock"})
    assert "clocks" in report.err


def test_a_server_without_a_list_of_models_needs_to_be_told_one(
    server: Upstream, gateway: Gateway, examine: Examine
) -> None:
    async def without(asked: Asked, forward: Forward) -> Answer:
        if asked.path.endswith("/models"):
            return Answer(404, [("content-type", "text/html")], pieces(b"none"))
        return await forward(asked)

    gateway.use_acts(without)
    pinned = (gateway.base_url, "--json", "--identity", server.fingerprint)

    report = examine(*pinned)

    assert (report.status, report.findings) == (1, {})
    assert "--model" in report.err
    assert examine(*pinned, "--model", "tiny").status == 0


def test_a_server_that_wants_an_api_key_gets_it(
    examine: Examine, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{API_KEY}\n")
    file.chmod(0o600)
    with serving() as server:
        engine_of(server).api_key = API_KEY
        pinned = (url_of(server), "--json", "--identity", server.fingerprint)
        good = examine(*pinned, "--api-key-file", str(file))
        none = examine(*pinned)
        file.write_text("sk-wrong")
        wrong = examine(*pinned, "--api-key-file", str(file), "--model", "tiny")

    assert (good.status, good.findings) == (0, {})
    assert good.of("ok")["authorization"]
    assert (none.status, none.json["checks"]) == (2, [])
    assert "OPENAI_API_KEY" in none.err
    assert (wrong.status, set(wrong.faults)) == (1, {"authorization"})


def test_a_gateway_that_removes_the_api_key_is_named(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)

    def without(asked: Asked) -> Asked:
        asked.headers = [it for it in asked.headers if it[0] != "authorization"]
        return asked

    with serving() as server:
        engine_of(server).api_key = API_KEY
        with Gateway(server.port) as gateway:
            gateway.use_acts(on_request(without))
            report = examine(
                *(gateway.base_url, "--json", "--identity", server.fingerprint),
                *("--model", "tiny"),
            )

    assert (report.status, set(report.faults)) == (1, {"authorization"})
    assert "Authorization" in report.err


@pytest.mark.parametrize(
    ("options", "faults", "not_tested"),
    [
        ({"keyless": KeylessPolicy.DISCARD}, set(), set()),
        ({"keyless": KeylessPolicy.ALLOW}, {"unprotected-requests"}, set()),
        (
            {"requires_sealed": True},
            set(),
            {"client-key-header", "client-key-member"},
        ),
        ({"server_key_header": "x-their-own-name"}, set(), set()),
    ],
)
def test_what_the_operator_has_chosen_is_seen(
    examine: Examine, options: dict[str, Any], faults: set[str], not_tested: set[str]
) -> None:
    with serving(**options) as server:
        report = examine(url_of(server), "--json", "--identity", server.fingerprint)

    assert (set(report.findings), report.status) == (faults, bool(faults))
    assert report.of("not_tested").keys() - {"authorization", "retries"} == not_tested


def test_a_model_that_the_server_does_not_have_shows_nothing(
    server: Upstream, examine: Examine
) -> None:
    report = examine(
        *(url_of(server), "--json", "--identity", server.fingerprint),
        *("--model", "none"),
    )

    assert (report.status, report.findings) == (1, {})
    assert report.is_one_sentence(1)
    assert "--model" in report.err


@pytest.mark.parametrize("status", [403, 404, 405])
def test_a_router_that_does_not_know_every_route_is_no_fault(
    server: Upstream, gateway: Gateway, examine: Examine, status: int
) -> None:
    async def chat_only(asked: Asked, forward: Forward) -> Answer:
        if asked.path.endswith(("/chat/completions", "/models")):
            return await forward(asked)
        return Answer(status, [("content-type", "text/plain")], pieces(b"no route"))

    gateway.use_acts(chat_only)
    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, report.findings) == (0, {})
    assert "event-lines" in report.of("not_tested")


def test_either_http_library_will_do(
    server: Upstream, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)

    report = examine(url_of(server), "--json", "--identity", server.fingerprint)

    assert (report.status, report.findings) == (0, {})


def test_an_engine_that_is_down_behind_its_protection_is_said(
    server: Upstream, gateway: Gateway, examine: Examine
) -> None:
    async def fail(asked: Asked, forward: Forward) -> Answer:
        if asked.path.endswith("/v1/models"):
            return Answer(502, [("content-type", "application/json")], pieces(b"{}"))
        return await forward(asked)

    gateway.use_acts(fail)
    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert report.status == 1
    said = report.of("not_tested")["sealed-unary"]
    assert "answers /v1/models with status 502" in said
