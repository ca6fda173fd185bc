"""Other answers than chat through gateways: completions, Responses, Anthropic's messages."""

from __future__ import annotations

import pytest

from stainedglass_output_protection.client import protected_client
from tests.client.sealed_cases import CASES, Case, streamed_answer
from tests.gateways.asking import Asking
from tests.gateways.fault import OPENS
from tests.gateways.simulator import FAULTS, Gateway
from tests.gateways.upstream import Upstream

STREAMED = [
    case for case in CASES if case.name in ("completions", "responses", "messages")
]
# What changes JSON or the framing of events; the rest does not know what a body is.
_OF_BODIES = [
    *("reserialises_json", "escapes_for_html", "moves_unknown_members", "rewrites_ids"),
    *("drops_unknown_members", "rewrites_usage", "compresses", "drops_charset"),
    *("drops_comments", "adds_comments", "drops_event_lines", "drops_space_after_data"),
    *("writes_crlf", "splits_data_lines", "drops_done", "adds_after_done"),
    *("sends_single_bytes", "holds_everything", "adds_usage_chunk"),
]
_OF_REQUESTS = [
    *("drops_request_headers", "drops_unknown_request_members", "reserialises_request"),
    *("adds_request_defaults", "adds_system_prompt", "writes_big_numbers_as_floats"),
]
_BREAKING = {
    "truncates_with_done": "TruncatedError",
    "drops_events": "SequenceError",
    "swaps_events": "SequenceError",
    "flips_bits": "DecryptionError",
    "injects_error_event": "TruncatedError",
    "cuts_connection": "TruncatedError",
    "invents_answer": "UnprotectedResponseError",
}


def ask(
    case: Case, shape: str, profile: str, asking: Asking, upstream: Upstream
) -> tuple[str, bytes, bytes]:
    """Return the outcome, what was read, and what the application wrote."""
    wire = case.answer()
    if shape == "stream":
        wire = streamed_answer(case.path)
        wire.parts = [*wire.parts[:1] * 4, *wire.parts]  # Enough to be swapped.
    upstream.app.answer = lambda call: wire
    asked = {name: case.body[name] for name in case.body if name != "stream"}
    if case.name == "responses":
        asked["store"] = False  # Kept ones are refused to profile output.
    seen = asking(profile, shape, path=case.path, asked=asked)
    return seen.outcome, seen.body, wire.body


@pytest.mark.parametrize("fault", [*_OF_BODIES, *_OF_REQUESTS])
@pytest.mark.parametrize("case", STREAMED, ids=lambda case: case.name)
def test_an_answer_of_another_shape_opens(
    case: Case,
    fault: str,
    profile: str,
    shape: str,
    upstream: Upstream,
    gateway: Gateway,
) -> None:
    assert FAULTS[fault].is_benign(profile)
    gateway.use(fault)
    asking = Asking(gateway, upstream.fingerprint)
    outcome, read, written = ask(case, shape, profile, asking, upstream)
    assert outcome == OPENS
    assert read == written


@pytest.mark.parametrize("fault", _BREAKING)
@pytest.mark.parametrize("case", STREAMED, ids=lambda case: case.name)
def test_a_broken_stream_of_another_shape_is_refused(
    case: Case, fault: str, profile: str, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use(fault)
    asking = Asking(gateway, upstream.fingerprint)
    outcome, read, written = ask(case, "stream", profile, asking, upstream)
    assert outcome == _BREAKING[fault]
    assert written.startswith(read)
    assert read != written


@pytest.mark.parametrize(
    "case", [case for case in CASES if case not in STREAMED], ids=lambda case: case.name
)
def test_routes_without_a_stream_open_after_json_is_written_anew(
    case: Case, profile: str, asking: Asking, upstream: Upstream, gateway: Gateway
) -> None:
    gateway.use("reserialises_request", "reserialises_json", "rewrites_ids")
    outcome, read, written = ask(case, "unary", profile, asking, upstream)
    assert outcome == OPENS
    assert read == written


@pytest.mark.parametrize("name", ["tokenize", "rerank", "count"])
def test_where_a_member_was_added_dropping_it_is_no_short_answer(
    name: str, profile: str, asking: Asking, upstream: Upstream, gateway: Gateway
) -> None:
    (case,) = [case for case in CASES if case.name == name]
    gateway.use("drops_unknown_members")
    outcome, read, _ = ask(case, "unary", profile, asking, upstream)
    assert outcome == "UnprotectedResponseError"
    assert read == b""


def test_a_request_without_a_body_needs_its_header(
    upstream: Upstream, gateway: Gateway
) -> None:
    url = f"{gateway.base_url}/responses/resp_{'0' * 64}"
    with protected_client(identity=upstream.fingerprint) as client:
        found = client.get(url)
        assert found.headers["x-output-protection"] == "opened"
        gateway.use("drops_request_headers")
        refused = client.get(url)
    assert (refused.status_code, found.status_code) == (400, 404)
    assert refused.json()["error"]["code"] == "client_key_missing"
