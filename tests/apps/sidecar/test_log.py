"""What an operator finds in the log when a client complains."""

from __future__ import annotations

import logging
import re

import pytest

from stainedglass_output_protection.apps.forwarding import Limits
from stainedglass_output_protection.server.observation import REQUEST_LOGGER
from tests.apps.proxy.running import unused_port, wait_for_the_ending
from tests.apps.sidecar.engines import Engine, answering, running
from tests.apps.sidecar.sidecars import beside, command, posted
from tests.apps.sidecar.test_faults import IN_THE_MIDDLE, STREAM
from tests.asgi.applications import ASK, CHAT, Identity
from tests.asgi.serving import fetched

ENGINE_LOGGER = "stainedglass_output_protection.apps.sidecar.engine_log"
GATE_LOGGER = "stainedglass_output_protection.apps.sidecar.gate"
_ID = re.compile(r"\bid=([0-9a-f]{32})\b")


def lines_of(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    # A request's line comes after its end.
    wait_for_the_ending()
    return [it.getMessage() for it in caplog.records if it.name == name]


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_failure_has_the_id_of_its_request_and_names_the_engine(
    identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    with beside(url) as sidecar:
        posted(sidecar.url, identity, ASK, profile="output")
        fetched(f"{sidecar.url}/health")
    of_route, of_health = lines_of(caplog, ENGINE_LOGGER)
    (request,) = lines_of(caplog, REQUEST_LOGGER)

    assert _ID.findall(of_route) == _ID.findall(request) != []
    assert f"engine_unreachable (nothing listens at {url}" in of_route
    assert of_health.startswith("GET /health: engine_unreachable")
    assert of_health.endswith(" id=-")


def test_what_a_client_did_wrong_is_no_error_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = Limits(request_bytes=10)
    with (
        running(Engine(answering())) as engine,
        beside(engine.address, limits=limits) as sidecar,
    ):
        told = fetched(f"{sidecar.url}/health", content=b"x" * 11)
    (line,) = lines_of(caplog, ENGINE_LOGGER)

    assert told.status_code == 413
    assert "request_too_large" in line
    levels = [it.levelno for it in caplog.records if it.name == ENGINE_LOGGER]
    assert levels == [logging.INFO]


@pytest.mark.parametrize("fault", ["closes", "resets", "garbage"])
def test_an_engine_that_dies_in_a_stream_is_told_once(
    identity: Identity, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running(Engine(IN_THE_MIDDLE[fault])) as engine,
        beside(engine.address, limits=Limits()) as sidecar,
    ):
        posted(sidecar.url, identity, STREAM, profile="output")
    (line,) = lines_of(caplog, ENGINE_LOGGER)

    assert line.startswith(f"POST {CHAT}: engine_broke_off (")
    assert "The application failed" not in caplog.text
    assert "malformed" not in line
    assert "wrong port" not in line


def test_the_command_s_lines_have_times(identity: Identity) -> None:
    with (
        running(Engine(answering())) as engine,
        command("--upstream", engine.address) as sidecar,
    ):
        posted(sidecar.url, identity, ASK, profile="output")
        sidecar.stop()
        _, log = sidecar.ended()

    assert re.search(
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO request id=", log, re.M
    )


def test_requests_that_are_turned_away_are_told_seldom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        running(Engine(answering())) as engine,
        beside(engine.address, limits=Limits(at_once=0)) as sidecar,
    ):
        for _ in range(5):
            assert fetched(f"{sidecar.url}/health").status_code == 503
    lines = lines_of(caplog, GATE_LOGGER)

    assert [it.partition("503, ")[2].partition(" so far")[0] for it in lines] == [
        *("1", "2", "4")
    ]
    assert all("--max-running" in it for it in lines)
