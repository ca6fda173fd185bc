"""Each fault of the simulator, and the finding that names it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from tests.apps.doctor.conftest import Examine, serving
from tests.gateways.simulator import FAULTS, Gateway
from tests.gateways.traffic import Answer, on_answer, whole
from tests.gateways.upstream import Upstream

# Names of checks with a warning, and with a fault: all of them, and no other.
Expected = tuple[set[str], set[str]]


def warns(*names: str) -> Expected:
    return set(names), set()


def breaks(*names: str) -> Expected:
    return set(), set(names)


# What does no harm, and is told in the row of a check that is well: a word of it.
NOTED = {
    "hides_key_document": ("key-document", "Its path is not passed on (status 404)"),
    "keeps_last_request_header": ("client-key-header", "Of two such headers one"),
    "reserialises_request": ("request-rewriting", "written anew"),
}
# These write the JSON of requests anew as well, and do worse.
ALSO_WRITTEN_ANEW = {"drops_key_member", "drops_headers_and_members"}
EXPECTED: dict[str, Expected] = {
    "caches_key_document": warns("key-document"),
    "drops_request_headers": warns("client-key-header"),
    "drops_unknown_request_members": warns("client-key-member", "request-rewriting"),
    "drops_key_member": warns("client-key-member"),
    "drops_headers_and_members": warns("client-key-header", "client-key-member"),
    "repeats_key_header": warns("client-key-header"),
    "replaces_key": (
        {"client-key-header", "client-key-member"},
        {"request-rewriting"},
    ),
    "adds_request_defaults": warns("request-rewriting"),
    "writes_big_numbers_as_floats": warns("request-rewriting"),
    "adds_system_prompt": warns("request-rewriting"),
    "renames_model": breaks("request-rewriting"),
    "turns_streaming_off": breaks("request-rewriting"),
    "damages_request": breaks("request-rewriting"),
    "drops_response_headers": warns("response-headers", "caching"),
    "drops_our_headers": warns("response-headers", "caching"),
    "renames_response_headers": warns("response-headers", "caching"),
    "doubles_headers": warns("response-headers"),
    "adds_cors_headers": warns("response-headers"),
    "drops_charset": warns("response-headers"),
    "drops_content_type": breaks("sealed-stream"),
    "compresses": warns("compression"),
    "reserialises_json": warns("answer-rewriting"),
    "escapes_for_html": warns("answer-rewriting"),
    "drops_unknown_members": warns("answer-rewriting"),
    "moves_unknown_members": warns("answer-rewriting"),
    "rewrites_ids": warns("answer-rewriting"),
    "rewrites_usage": warns("answer-rewriting"),
    "writes_text_as_parts": warns("answer-rewriting"),
    "replaces_text": breaks("sealed-unary", "sealed-stream"),
    "adds_comments": warns("events"),
    "drops_event_lines": warns("event-lines"),
    "drops_space_after_data": warns("events"),
    "writes_crlf": warns("events"),
    "splits_data_lines": warns("events", "event-lines"),
    "drops_chunks_without_text": warns("events"),
    "adds_usage_chunk": warns("events"),
    "drops_done": warns("events"),
    "adds_after_done": warns("events"),
    "sends_single_bytes": warns("events"),
    "injects_clear_event": warns("events"),
    "holds_everything": warns("timing"),
    "calls_everything_a_stream": ({"response-headers"}, {"sealed-unary"}),
    "maps_statuses": warns("statuses"),
    "shows_errors_as_200": warns("statuses"),
    "shows_errors_as_500": warns("statuses"),
    "quotes_errors": warns("statuses"),
    "drops_comments": warns("comments"),
    "joins_repeated_headers": warns("repeated-headers"),
    "retries_server_errors": warns("retries"),
    "sends_twice": breaks("replay"),
    "caches_answers": breaks("caching"),
    "alternates_servers": breaks("identity"),
    "goes_to_another_server": breaks("identity"),
    "redirects": breaks("server"),
    "answers_with_a_page": breaks("server"),
    "is_unavailable": breaks("server"),
    "flips_bits": breaks("sealed-unary", "sealed-stream"),
    "truncates_text": breaks("sealed-unary", "sealed-stream"),
    "truncates": breaks("sealed-unary", "sealed-stream"),
    "truncates_with_done": breaks("sealed-stream"),
    "cuts_connection": breaks("sealed-unary", "sealed-stream"),
    "drops_events": breaks("sealed-stream"),
    "repeats_events": breaks("sealed-stream"),
    "swaps_events": breaks("sealed-stream"),
    "merges_chunks": breaks("sealed-stream"),
    "splits_chunks": breaks("sealed-stream"),
    "gathers_stream": breaks("sealed-stream"),
    "injects_error_event": breaks("sealed-stream"),
    "invents_answer": breaks("unprotected-requests", "sealed-unary", "sealed-stream"),
}
# What only shows itself by something that the server does for it.
SHOWN = {"comments", "repeated-headers", "retries"}
# A word of the sentence that tells it from the other faults of the same check.
WORDS = {
    "caches_key_document": "comes from a cache",
    "adds_system_prompt": "prompt",
    "adds_request_defaults": "members are added",
    "drops_unknown_request_members": "members are dropped",
    "writes_big_numbers_as_floats": "other numbers",
    "turns_streaming_off": "member stream",
    "alternates_servers": "More than one server answers here",
    "renames_model": "model",
    "damages_request": "sealed text",
    "replaces_key": "sealed text",
    "repeats_key_header": "more than once",
    "drops_our_headers": "dropped",
    "renames_response_headers": "renamed to llm_provider-x-server-public-key",
    "doubles_headers": "date doubled",
    "drops_charset": "content type",
    "drops_content_type": "content type",
    "rewrites_ids": "created, id, model",
    "rewrites_usage": "usage",
    "drops_done": "[DONE] is dropped",
    "drops_chunks_without_text": "without text",
    "adds_comments": "Comments",
    "writes_crlf": "written anew",
    "sends_single_bytes": "tiny pieces",
    "injects_clear_event": "added",
    "maps_statuses": "422 of the server arrives as 400",
    "quotes_errors": "words or codes",
    "joins_repeated_headers": "joined to one",
    "retries_server_errors": "503 was sent again",
    "gathers_stream": "gathered",
    "truncates_with_done": "ended before",
    "drops_events": "dropped",
    "flips_bits": "changed",
    "is_unavailable": "502",
    "redirects": "redirect",
}


@pytest.fixture(scope="module")
def second() -> Iterator[Upstream]:
    """Another server, with another identity."""
    with serving() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def both(server: Upstream, second: Upstream) -> Iterator[Gateway]:
    """A gateway in front of both servers."""
    with Gateway(server.port, other_port=second.port) as gateway:
        yield gateway


def test_every_fault_is_spoken_of() -> None:
    spoken = [*EXPECTED, *NOTED]
    assert set(spoken) <= set(FAULTS)
    assert len(set(spoken)) == len(spoken)
    assert set(WORDS) <= set(EXPECTED)


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_named_and_no_other(
    server: Upstream, both: Gateway, examine: Examine, name: str
) -> None:
    both.use(name)
    report = examine(
        *(both.base_url, "--json", "--identity", server.fingerprint),
        *("--model", "tiny", "--probes", "4", "--provoke-error"),
    )

    assert report.json["exit_status"] == report.status
    assert report.json["protected"] == (report.status == 0)
    if name not in {*EXPECTED, *NOTED}:
        # One that was added since: a client's verdict is the doctor's.
        assert (report.status == 0) == FAULTS[name].is_benign("sealed")
        return
    expected = EXPECTED.get(name, warns())
    assert (set(report.of("warning")), set(report.of("fault"))) == expected
    assert report.status == bool(expected[1])
    assert WORDS.get(name, "") in " ".join(report.findings.values())
    assert (report.err == "") == (report.status == 0)
    # Where requests fail and nothing is read, it does not sound like a leak.
    is_leak = bool(expected[1] & {"identity", "unprotected-requests"})
    assert ("does not hold" in report.err) == is_leak
    if report.status == 0:
        has_no_header = name == "drops_response_headers"
        unseen = {"repeated-headers"} if has_no_header else set()
        assert SHOWN & report.of("not_tested").keys() == unseen
    rows = report.of("ok")
    told = {it for it, (check, word) in NOTED.items() if word in rows.get(check, "")}
    is_anew = name in ALSO_WRITTEN_ANEW
    assert told == {name} & NOTED.keys() | (
        {"reserialises_request"} if is_anew else set()
    )


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("drops_headers_and_members", {"client-key-header", "client-key-member"}),
        ("replaces_key", {"client-key-header", "client-key-member"}),
        ("drops_request_headers", set()),
        ("renames_model", set()),
        ("caches_answers", {"caching"}),
    ],
)
def test_the_verdict_is_on_the_profile_that_is_asked_for(
    server: Upstream, gateway: Gateway, examine: Examine, name: str, faults: set[str]
) -> None:
    gateway.use(name)

    report = examine(
        *(gateway.base_url, "--json", "--identity", server.fingerprint),
        *("--profile", "output", "--probes", "4"),
    )

    assert (set(report.faults), report.status) == (faults, bool(faults))
    assert report.findings
    assert ("does not hold" in report.err) == (name == "replaces_key")


def test_a_document_that_comes_in_no_way_is_a_fault(
    server: Upstream, gateway: Gateway, examine: Examine
) -> None:
    def without_document(answer: Answer) -> Answer:
        return replace(answer, body=emptied(answer.body))

    async def emptied(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield re.sub(rb"sgop1-keys[^\"]*", b"...", await whole(body))

    hides = FAULTS["hides_key_document"].make()
    gateway.use_acts(hides, on_answer(without_document))

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert (set(report.faults), report.status) == ({"key-document"}, 1)
    assert report.is_one_sentence(1)


def test_a_document_that_a_router_hides_is_learned_from_a_refusal(
    server: Upstream, gateway: Gateway, examine: Examine
) -> None:
    gateway.use("hides_key_document")

    report = examine(gateway.base_url, "--json", "--identity", server.fingerprint)

    assert "status 404" in report.of("ok")["key-document"]
    assert (report.findings, report.status) == ({}, 0)


@pytest.mark.parametrize(
    "how", ["maps_statuses", "quotes_errors", "shows_errors_as_200"]
)
def test_a_refusal_that_no_client_understands_is_named_as_the_reason(
    server: Upstream, gateway: Gateway, examine: Examine, how: str
) -> None:
    gateway.use("hides_key_document", how)

    report = examine(
        *(gateway.base_url, "--json", "--identity", server.fingerprint),
        *("--model", "tiny", "--probes", "4"),
    )

    # Whether clients understand it is theirs to say.
    opens = "sealed-unary" in report.of("ok")
    assert (set(report.faults), report.status) == (
        (set(), 0) if opens else ({"key-document"}, 1)
    )
    assert "statuses" in report.findings
