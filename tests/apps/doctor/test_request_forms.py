"""What becomes of headers and JSON of requests, as far as refusals tell."""

from __future__ import annotations

import pytest

from tests.apps.doctor.conftest import Examine, engine_of, serving, url_of
from tests.client.fake_server import JSON, Received, Wire, error_body
from tests.gateways.simulator import Gateway
from tests.gateways.upstream import Upstream


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("adds_request_defaults", "members are added"),
        ("drops_unknown_request_members", "members are dropped"),
        ("writes_big_numbers_as_floats", "other numbers"),
        ("reserialises_request", ""),
    ],
)
def test_refusals_of_older_releases_of_vllm_tell_as_much(
    examine: Examine, name: str, word: str
) -> None:
    with serving() as server, Gateway(server.port, name) as gateway:
        engine_of(server).prints_input = True
        report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    found = report.findings.get("request-rewriting", "")
    assert (report.status, word in found, bool(found)) == (0, True, bool(word))


@pytest.mark.parametrize(
    "words",
    [
        "Something is wrong with this request.",
        "'missing' 'input': '<dict of many items>'",
        "'missing' 'input': '<dict of 99999999999999999999 items>'",
        "'missing' 'input': {" * 2000,
        '["body", "messages"]: Field required',
    ],
)
def test_a_refusal_in_other_words_tells_nothing(examine: Examine, words: str) -> None:
    def refuse(call: Received) -> Wire:
        if "truncate_prompt_tokens" not in call.asked:
            return said(call)
        return Wire(400, {"content-type": JSON}, [error_body(words)])

    with serving() as server:
        said = engine_of(server).answer
        server.app.answer = refuse
        report = examine(url_of(server), "--json", "--identity", server.fingerprint)

    assert (report.status, report.findings) == (0, {})


@pytest.mark.parametrize(
    ("faults", "is_told"),
    [
        (["keeps_last_request_header"], True),
        # What never arrives is no repeated header of which one arrives.
        (["drops_request_headers"], False),
        (["keeps_last_request_header", "drops_request_headers"], False),
        (["keeps_last_request_header", "quotes_errors"], False),
    ],
)
def test_only_a_header_that_arrives_can_arrive_once(
    server: Upstream,
    gateway: Gateway,
    examine: Examine,
    faults: list[str],
    is_told: bool,
) -> None:
    gateway.use(*faults)

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert ("Of two such headers" in report.out, report.status) == (is_told, 0)


@pytest.mark.parametrize("name", ["reserialises_request", "keeps_last_request_header"])
def test_what_does_no_harm_is_told_on_a_server_of_sealed_requests_too(
    examine: Examine, name: str
) -> None:
    with serving(requires_sealed=True) as server, Gateway(server.port, name) as gateway:
        report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (report.status, report.findings) == (0, {})
    is_anew = "written anew" in report.of("ok")["request-rewriting"]
    assert is_anew == (name == "reserialises_request")
