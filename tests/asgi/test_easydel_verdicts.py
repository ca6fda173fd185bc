"""Everything that EasyDeL's users expect has a verdict in the documents, and a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.asgi import (
    test_inference_server,
    test_inference_server_probes,
    test_inference_server_proxies,
    test_inference_server_stops,
    test_inference_server_tools,
    test_lifespan,
    test_placement,
    test_workers,
)

PAGE = Path(__file__).parents[2] / "docs" / "any-engine.md"
_MODULES = (
    test_inference_server,
    test_inference_server_probes,
    test_inference_server_proxies,
    test_inference_server_stops,
    test_inference_server_tools,
    test_lifespan,
    test_placement,
    test_workers,
)

_PROBES = (
    "test_probes_need_no_key",
    "test_probes_read_what_they_read_without_protection",
)

# What it has, and the tests that a verdict rests on.
SHOWN_BY: dict[str, tuple[str, ...]] = {
    "ServerStatus": ("test_readiness_is_ours_and_health_its_own",),
    "ServerMetrics": ("test_counts_are_those_without_protection",),
    "EndpointConfig": ("test_a_route_that_nobody_has_classified_leaks_nothing",),
    "create_error_response": (
        "test_an_error_keeps_its_shape",
        "test_an_error_inside_a_stream_keeps_its_shape",
    ),
    "enable_cors": ("test_pages_of_other_origins_are_shown_our_header",),
    # Set by the server that all of these tests run against.
    "max_request_size": ("test_answers_usage_and_finish_reason",),
    "request_timeout": ("test_answers_usage_and_finish_reason",),
    "max_workers": ("test_answers_usage_and_finish_reason",),
    "enable_auth_ui": ("test_the_description_of_the_api_shows_the_key",),
    "_lifespan": (
        "test_its_stop_leaves_a_stream_its_time_and_its_keys",
        "test_its_own_start_and_stop_are_kept",
        "test_the_application_s_own_lifespan_is_kept",
    ),
    "_graceful_shutdown": (
        "test_its_stop_leaves_a_stream_its_time_and_its_keys",
        "test_a_stream_that_its_end_cuts_is_never_taken_for_complete",
        "test_a_stream_outlives_the_keys_that_it_began_with",
    ),
    "_setup_middleware": (
        "test_its_own_middleware_sees_no_plaintext",
        "test_who_leaves_a_stream_frees_its_place",
    ),
    "X-Request-ID": ("test_probes_need_no_key",),
    "/v1/chat/completions": (
        "test_it_opens_to_what_is_said_without_protection",
        "test_the_network_sees_no_word",
    ),
    "/v1/completions": (
        "test_it_opens_to_what_is_said_without_protection",
        "test_the_network_sees_no_word",
    ),
    "/v1/responses": (
        "test_it_opens_to_what_is_said_without_protection",
        "test_the_network_sees_no_word",
        "test_responses_whole_and_as_named_events",
        "test_responses_that_it_would_keep_are_refused_in_the_clear",
    ),
    "/health": _PROBES,
    "/metrics": _PROBES,
    "/v1/models": _PROBES,
    "/v1/models/{model_id}": (*_PROBES, "test_tools_and_a_model_may_be_sealed"),
    "/v1/tools": (*_PROBES, "test_tools_and_a_model_may_be_sealed"),
    "/v1/tools/execute": (
        "test_the_network_sees_no_word",
        "test_tools_are_executed_for_who_has_a_key",
    ),
    "_configure_openapi_security": ("test_the_description_of_the_api_shows_the_key",),
    "_determine_finish_reason": ("test_answers_usage_and_finish_reason",),
    "_count_tokens": (
        "test_answers_usage_and_finish_reason",
        "test_usage_is_readable_on_the_way",
    ),
    "_create_sampling_params": ("test_answers_usage_and_finish_reason",),
    "run()": ("test_with_a_fleet_s_secret_any_worker_answers",),
    "fire()": ("test_with_a_fleet_s_secret_any_worker_answers",),
    # Nothing to run: it is no place for protection.
    "InferenceEngineAdapter": (),
    "oai_proxies.InferenceApiRouter": (
        "test_what_rebuilds_requests_loses_a_key_that_is_not_in_a_message",
    ),
}


def verdicts() -> dict[str, str]:
    """Return what the page says of each thing: the words in its first column's code."""
    _, _, section = PAGE.read_text("utf-8").partition("\n## EasyDeL\n")
    found: dict[str, str] = {}
    for line in section.splitlines():
        if line.startswith("| ") and "---" not in line:
            what, verdict = (cell.strip() for cell in line.strip("|").split(" | "))
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", what), verdict)
    return found


@pytest.mark.parametrize("what", SHOWN_BY)
def test_there_is_a_verdict_and_what_it_rests_on(what: str) -> None:
    assert len(verdicts()[what]) > 3
    for name in SHOWN_BY[what]:
        assert any(hasattr(module, name) for module in _MODULES), name
