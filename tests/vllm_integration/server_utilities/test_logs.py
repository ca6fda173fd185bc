"""Rows 7 and 8: whole responses in vLLM's log, log configurations and access logs."""

from __future__ import annotations

import pytest

from tests.vllm_integration.server_utilities.conftest import (
    ACCESS_MARK,
    READY,
    Flagged,
    OnSocket,
    said,
)
from tests.vllm_integration.server_utilities.stub_engine import ACCENT, SECRET
from tests.vllm_integration.servers import wait_for
from tests.vllm_integration.shapes import CHAT

pytestmark = pytest.mark.vllm

LOGGED = "response_body={"


@pytest.mark.parametrize("profile", ["sealed", "output"])
@pytest.mark.parametrize("streamed", [False, True])
def test_row_7_the_response_logger_sees_ciphertext(
    flagged: Flagged, streamed: bool, profile: str
) -> None:
    before = flagged.server.log.count("sgop1.")
    with flagged.protected(profile) as client:
        answer = client.post(CHAT, json=said("log", stream=streamed))
    assert SECRET in answer.text
    wait_for(
        lambda: flagged.server.log.count("sgop1.") > before, "the logged answer", 60
    )
    log = flagged.server.log
    assert "CAUTION: Enabling log response" in log
    assert SECRET not in log
    assert ACCENT not in log
    if streamed:
        assert "response_body={streaming_complete: content='sgop1." in log


def test_row_8_a_log_config_file_is_obeyed(flagged: Flagged) -> None:
    marks = ("config-file-a", "config-file-b")
    with flagged.plain() as client:
        for mark in marks:
            client.get(READY, params={"mark": mark})
    wait_for(
        lambda: all(mark in flagged.access_log.read_text() for mark in marks),
        "the access lines",
        60,
    )
    lines = flagged.access_log.read_text().splitlines()
    assert all(line.startswith(ACCESS_MARK) for line in lines)
    # As the file says, they are in no other place.
    assert not [mark for mark in marks if mark in flagged.server.log]


def test_row_8_probes_can_be_left_out_of_the_access_log(on_socket: OnSocket) -> None:
    """On ``--uds``, by ``--disable-access-log-for-endpoints``."""
    with on_socket.plain() as client:
        for _ in range(3):
            assert client.get("/health").status_code == 200
            assert client.get(READY).status_code == 200
        # Whoever reads the line of this one has the lines of those before.
        assert client.get("/v1/models").status_code == 200
    with on_socket.protected("sealed") as client:
        assert client.post(CHAT, json=said("log")).status_code == 200

    def lines() -> list[str]:
        return [it for it in on_socket.server.log.splitlines() if " HTTP/1.1" in it]

    wait_for(lambda: any(CHAT in line for line in lines()), "the access line", 60)
    found = lines()
    assert any("/v1/models" in line for line in found)
    assert not [line for line in found if "/health" in line or READY in line]


@pytest.mark.parametrize("profile", ["sealed", "output"])
@pytest.mark.parametrize("streamed", [False, True])
def test_row_8_a_unix_socket_is_served_sealed(
    on_socket: OnSocket, streamed: bool, profile: str
) -> None:
    with on_socket.protected(profile) as client:
        answer = client.post(CHAT, json=said("uds", stream=streamed))
    assert answer.status_code == 200
    assert answer.headers["x-output-protection"] == "opened"
    with on_socket.plain() as client:
        refused = client.post(CHAT, json=said("uds", stream=streamed))
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "client_key_missing"
