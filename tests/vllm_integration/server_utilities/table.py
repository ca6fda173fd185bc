"""Which tests show each of the thirteen capabilities of vLLM's server utilities."""

from __future__ import annotations

from dataclasses import dataclass

_HERE = "tests/vllm_integration/server_utilities/"
_REAL = "tests/vllm_integration/"
_LAYER = "tests/vllm_layer/"
_CHECKS = f"{_HERE}checks.py"


@dataclass(frozen=True)
class Row:
    """A capability of vLLM's, and the tests in which it works around the protection.

    Tests are ``file::function``; those elsewhere show it too and are not repeated here.
    """

    capability: str
    tests: tuple[str, ...]


ROWS: dict[int, Row] = {
    1: Row(
        "AuthenticationMiddleware, OPTIONS and CORS, --root-path, --ssl-*",
        (
            f"{_HERE}test_authentication.py::test_row_1_without_the_api_key_it_is_401_and_no_counter_moves",
            f"{_HERE}test_authentication.py::test_row_1_with_any_of_the_api_keys_it_is_answered_sealed",
            f"{_HERE}test_authentication.py::test_row_1_the_root_path_may_be_there_or_taken_off_on_the_way",
            f"{_HERE}test_authentication.py::test_row_1_no_spelling_of_the_path_goes_past_the_api_key",
            f"{_HERE}test_authentication.py::test_row_1_a_preflight_needs_no_key_and_allows_the_client_key",
            f"{_HERE}test_authentication.py::test_row_1_without_a_client_certificate_there_is_no_connection",
            f"{_REAL}attacks/test_authorization.py::test_wrong_api_key_outside_is_401_before_any_key_work",
        ),
    ),
    2: Row(
        "verify_token and api_tokens: digests only, no secret shown",
        (
            f"{_HERE}test_authentication.py::test_row_2_no_log_line_has_a_secret_of_the_server_or_of_a_caller",
            f"{_CHECKS}::check_row_2_no_secret_shows_in_what_the_app_holds",
            "tests/server/test_key_ring.py::test_no_secret_shows",
        ),
    ),
    3: Row(
        "websocket scopes",
        (
            f"{_HERE}test_authentication.py::test_row_3_a_websocket_is_refused_and_nothing_fails",
            f"{_LAYER}test_speech_doors.py::test_the_realtime_door_is_shut_before_the_handshake",
        ),
    ),
    4: Row(
        "XRequestIdMiddleware",
        (
            f"{_HERE}test_request_ids.py::test_row_4_two_clients_with_the_same_ids_each_open_their_own",
            f"{_HERE}test_request_ids.py::test_row_4_an_id_is_minted_where_there_is_none",
        ),
    ),
    5: Row(
        "SSEDecoder",
        (
            f"{_CHECKS}::check_row_5_vllm_s_decoder_reads_our_stream_cut_anywhere",
            f"{_CHECKS}::check_row_5_our_decoder_reads_it_cut_anywhere_and_reformatted",
            "tests/properties/test_frames.py::test_events_do_not_depend_on_where_the_bytes_are_cut",
            "tests/properties/test_frames.py::test_events_hold_the_data_that_the_stream_has",
        ),
    ),
    6: Row(
        "_extract_content_from_chunk and vLLM's response models",
        (
            f"{_CHECKS}::check_row_6_our_events_are_vllm_s_own_objects",
            f"{_REAL}test_shapes.py::test_envelopes_are_valid_by_vllms_own_models",
            f"{_LAYER}test_typed_envelopes.py::test_every_envelope_is_valid_for_vllm_s_model",
        ),
    ),
    7: Row(
        "log_response: VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
        (
            f"{_HERE}test_logs.py::test_row_7_the_response_logger_sees_ciphertext",
            f"{_HERE}test_errors.py::test_the_wire_and_the_log_do_not_have_its_words",
            f"{_REAL}test_leaks.py::test_wire_and_log_of_two_api_servers_hold_no_canary",
            f"{_REAL}test_leaks.py::test_same_search_finds_every_canary_if_the_middleware_is_outermost",
            f"{_REAL}test_placement.py::test_outermost_placement_is_refused",
        ),
    ),
    8: Row(
        "--log-config-file, --disable-access-log-for-endpoints, --uds",
        (
            f"{_HERE}test_logs.py::test_row_8_a_log_config_file_is_obeyed",
            f"{_HERE}test_logs.py::test_row_8_probes_can_be_left_out_of_the_access_log",
            f"{_HERE}test_logs.py::test_row_8_a_unix_socket_is_served_sealed",
        ),
    ),
    9: Row(
        "http_exception_handler",
        (
            f"{_HERE}test_errors.py::test_the_client_reads_what_vllm_s_handler_says",
            f"{_HERE}test_errors.py::test_the_wire_and_the_log_do_not_have_its_words",
            f"{_REAL}test_shapes.py::test_errors_that_echo_the_request_would_have_been_found",
        ),
    ),
    10: Row(
        "validation_exception_handler",
        (
            f"{_HERE}test_errors.py::test_the_client_reads_what_vllm_s_handler_says",
            f"{_HERE}test_errors.py::test_the_wire_and_the_log_do_not_have_its_words",
            f"{_REAL}test_shapes.py::test_wire_holds_no_secret_in_any_form",
        ),
    ),
    11: Row(
        "the handler for plain Exception, outside of all middleware",
        (
            f"{_HERE}test_errors.py::test_the_client_reads_what_vllm_s_handler_says",
            f"{_HERE}test_errors.py::test_the_wire_and_the_log_do_not_have_its_words",
            f"{_REAL}test_faults.py::test_raising_before_anything_is_sent_is_sealed_as_vllms_handler_says",
            f"{_REAL}test_faults.py::test_raising_in_a_stream_is_one_sealed_error_event_and_the_end",
        ),
    ),
    12: Row(
        "lifespan, which ends with `del app.state`",
        (
            f"{_CHECKS}::check_row_12_fifty_starts_and_stops_leave_nothing",
            f"{_LAYER}test_server_keys.py::test_refresh_task_ends_with_the_lifespan_and_leaves_the_state_alone",
            f"{_LAYER}test_server_keys.py::test_first_key_exists_before_the_wrapped_lifespan_begins",
        ),
    ),
    13: Row(
        "_running_tasks: a failure of the task that renews keys is visible",
        (
            f"{_CHECKS}::check_row_13_a_key_that_cannot_be_made_is_counted_and_others_come",
            f"{_HERE}test_lifetime.py::test_row_13_evidence_that_fails_once_is_counted_and_keys_go_on",
            f"{_HERE}test_lifetime.py::test_row_13_the_log_says_so_once_and_without_its_words",
        ),
    ),
}
