"""What was promised to be tested with real routers, and the tests that do."""

from __future__ import annotations

import pytest

from tests.gateways.simulator import FAULTS
from tests.vllm_integration.server_utilities.table import ROWS
from tests.vllm_integration.server_utilities.test_table import functions_of

_GATEWAYS = "tests.gateways"
_FLEET = "tests.fleet"
_ASGI = "tests.asgi"
_VLLM = "tests.vllm_integration.fleet"
_UTILITIES = "tests.vllm_integration.server_utilities"


def _of_the_table() -> list[str]:
    """Return what runs as a test of its own; what is named a check, another test runs."""
    found = (name.split(".py::") for row in ROWS.values() for name in row.tests)
    return [
        f"{path.replace('/', '.')}:{function}"
        for path, function in found
        if function.startswith("test_")
    ]


PLAN: dict[str, list[str]] = {
    # Each policy: 200 mixed requests, 20 clients at once, nothing readable on the way.
    "T1": [
        f"{_FLEET}.test_traffic:test_two_hundred_mixed_requests_open_while_keys_change_every_second",
        f"{_FLEET}.test_traffic:test_what_goes_this_way_in_the_clear_is_found",
        f"{_VLLM}.test_round_robin:test_two_hundred_requests_succeed_at_once_while_keys_change_every_second",
        f"{_VLLM}.test_policies:test_mixed_requests_open",
        f"{_VLLM}.test_with_a_replica_killed:test_no_answer_is_wrong_while_a_replica_is_killed_and_restarted",
    ],
    # Malformed keys, 50 a second for 10 seconds.
    "T2": [
        f"{_FLEET}.test_traffic:test_flood_of_malformed_requests_hurts_nobody_else",
        f"{_VLLM}.test_bad_client:test_flood_of_malformed_requests_hurts_nobody_else",
    ],
    # A replica killed while it streams.
    "T3": [
        f"{_FLEET}.test_killed_replica:test_cut_streams_are_truncated_and_nothing_else_is_wrong",
        f"{_VLLM}.test_with_a_replica_killed:test_no_answer_is_wrong_while_a_replica_is_killed_and_restarted",
    ],
    # Rotation every second during T1.
    "T4": [
        f"{_FLEET}.test_traffic:test_two_hundred_mixed_requests_open_while_keys_change_every_second",
        f"{_VLLM}.test_round_robin:test_two_hundred_requests_succeed_at_once_while_keys_change_every_second",
    ],
    # Prefill and decode apart; a gateway that drops all headers.
    "T5": [
        f"{_FLEET}.test_prefill_and_decode:test_with_the_key_in_the_body_answers_open_and_tokens_are_counted",
        f"{_FLEET}.test_prefill_and_decode:test_with_a_key_in_the_header_only_nothing_is_answered",
        f"{_FLEET}.test_usage:test_the_tokens_on_the_wire_are_those_of_the_opened_answers",
        f"{_FLEET}.test_usage:test_the_tokens_of_whole_answers_are_counted",
        f"{_GATEWAYS}.test_faults:test_an_answer_opens_unchanged_or_a_named_error_is_raised",
    ],
    # Probes without a key.
    "T6": [
        f"{_FLEET}.test_probes:test_a_router_that_probes_by_chats_needs_the_policy_that_answers_them",
        f"{_FLEET}.test_probes:test_a_probe_without_a_key_is_answered_as_the_policy_says",
        f"{_FLEET}.test_probes:test_a_probe_costs_no_worker_its_place",
    ],
    # A server of EasyDeL's make: its real one where one asks for it, a stand-in always.
    "T8": [
        f"{_ASGI}.test_inference_server:test_an_error_keeps_its_shape",
        f"{_ASGI}.test_inference_server:test_an_error_inside_a_stream_keeps_its_shape",
        f"{_ASGI}.test_inference_server_stops:test_its_stop_leaves_a_stream_its_time_and_its_keys",
        f"{_ASGI}.test_inference_server_stops:test_a_stream_that_its_end_cuts_is_never_taken_for_complete",
        f"{_ASGI}.test_inference_server_stops:test_who_leaves_a_stream_frees_its_place",
        f"{_ASGI}.test_inference_server:test_it_opens_to_what_is_said_without_protection",
        f"{_ASGI}.test_inference_server:test_the_network_sees_no_word",
        f"{_ASGI}.test_inference_server_probes:test_counts_are_those_without_protection",
        f"{_ASGI}.test_inference_server_probes:test_probes_need_no_key",
        f"{_ASGI}.test_inference_server_probes:test_probes_read_what_they_read_without_protection",
        f"{_ASGI}.test_inference_server_tools:test_tools_are_executed_for_who_has_a_key",
    ],
    # LiteLLM's proxy, where one asks for it: headers forwarded or not, key in the body.
    "T9": [
        f"{_GATEWAYS}.test_litellm:test_answers_open",
        f"{_GATEWAYS}.test_litellm:test_by_the_header_alone_they_open_where_headers_are_forwarded",
        f"{_GATEWAYS}.test_litellm:test_by_the_member_alone_they_open",
    ],
    # The simulator's faults.
    "T10": [
        f"{_GATEWAYS}.test_faults:test_an_answer_opens_unchanged_or_a_named_error_is_raised",
        f"{_GATEWAYS}.test_cuts:test_a_stream_cut_anywhere_opens",
        f"{_GATEWAYS}.test_cuts:test_a_unary_body_cut_anywhere_opens",
        f"{_GATEWAYS}.test_cuts:test_a_body_that_ends_anywhere_else_is_never_complete",
        f"{_GATEWAYS}.test_routers:test_answers_open_through",
        f"{_GATEWAYS}.test_routers:test_everything_benign_at_once_opens",
    ],
    # Each of vLLM's server utilities, by the table of the tests of each.
    "T11": [
        f"{_UTILITIES}.test_table:test_there_are_the_thirteen_rows",
        f"{_UTILITIES}.test_table:test_each_row_has_tests_that_are_there",
        f"{_UTILITIES}.test_in_process:test_installed",
        *_of_the_table(),
    ],
    # One secret for all: the first try succeeds at whichever replica. With another one
    # in one of them, an error names it.
    "T12": [
        f"{_VLLM}.test_round_robin:test_two_hundred_requests_succeed_at_once_while_keys_change_every_second",
        f"{_VLLM}.test_other_secret.test_answers:test_sealed_answers_are_right_or_the_error_that_names_the_secret",
        f"{_VLLM}.test_other_secret.test_goes_on:test_the_fleet_of_one_secret_goes_on_at_the_first_try",
    ],
}


# What gateways do to headers, bodies and streams, and who attacks: by T5 and T10.
SIMULATED = (
    *("drops_request_headers", "drops_headers_and_members", "drops_response_headers"),
    *("keeps_last_request_header", "joins_repeated_headers", "doubles_headers"),
    *("renames_response_headers", "reserialises_request", "reserialises_json"),
    *("drops_comments", "drops_event_lines", "drops_unknown_members", "rewrites_ids"),
    *("sends_single_bytes", "holds_everything", "splits_data_lines"),
    *("goes_to_another_server", "replaces_key", "caches_answers", "sends_twice"),
    *("truncates", "truncates_with_done", "swaps_events"),
)


@pytest.mark.parametrize(
    "name", sorted({name for names in PLAN.values() for name in names})
)
def test_it_is_there(name: str) -> None:
    module, _, function = name.partition(":")
    assert function.startswith("test_")
    # Not imported: not every run has what optional tests need.
    assert function in functions_of(f"{module.replace('.', '/')}.py")


@pytest.mark.parametrize("name", SIMULATED)
def test_the_simulator_does_it(name: str) -> None:
    fault = FAULTS[name]
    assert fault.unary or fault.stream
