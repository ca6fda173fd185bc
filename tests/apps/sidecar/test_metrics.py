"""What the sidecar counts and logs, beside what the engine shows of itself."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stainedglass_output_protection.apps.forwarding import Limits
from stainedglass_output_protection.hosting.settings import load_settings
from stainedglass_output_protection.server.observation import REQUEST_LOGGER
from tests.apps.proxy.running import unused_port
from tests.apps.sidecar.engines import (
    Asked,
    Engine,
    answering,
    running,
    say,
)
from tests.apps.sidecar.sidecars import Running, beside, command, posted, refused
from tests.asgi.applications import ASK, CANARY, CHAT, Identity
from tests.asgi.serving import fetched

METRICS = "/.well-known/output-protection/metrics"
STREAM = {**ASK, "stream": True}
_LIMIT_S = 60.0


def metrics_of(url: str) -> dict[Any, float]:
    """Return what is counted, as Prometheus reads it."""
    told = fetched(url + METRICS)
    assert told.status_code == 200
    assert told.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(told.text)
        for sample in family.samples
    }


def requests_of(sidecar: Running, count: int) -> dict[Any, float]:
    """Return what is counted once ``count`` requests have: that is after their end."""
    end = time.monotonic() + _LIMIT_S
    while True:
        found = metrics_of(sidecar.url)
        ended = sum(
            value
            for (name, _), value in found.items()
            if name == "output_protection_requests_total"
        )
        if ended >= count:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.02)


def test_requests_are_counted_by_their_outcome(identity: Identity) -> None:
    with running(Engine(answering())) as engine, beside(engine.address) as sidecar:
        for body in (ASK, STREAM, STREAM):
            posted(sidecar.url, identity, body, profile="output")
        fetched(sidecar.url + CHAT, json=ASK, method="POST")
        fetched(f"{sidecar.url}/made/up/{CANARY}", json=ASK, method="POST")
        found = requests_of(sidecar, 5)

    def ended(*labels: str) -> float:
        return found["output_protection_requests_total", tuple(sorted(labels))]

    assert ended(CHAT, "sealed", "false") == 1
    assert ended(CHAT, "sealed", "true") == 2
    assert ended(CHAT, "refused", "false") == 1
    assert ended("other", "refused", "false") == 1
    assert found["output_protection_refusals_total", ("client_key_missing",)] == 1
    assert found["output_protection_seal_seconds_count", ()] == 3
    assert found["output_protection_requests_in_progress", ()] == 0
    assert found["output_protection_live_keys", ()] == 1
    assert found["output_protection_rotations_total", ("ok",)] == 1
    assert found["output_protection_response_bytes_total", (CHAT,)] > 0
    assert found["process_resident_memory_bytes", ()] > 0
    assert not [it for it in found if CANARY in str(it)]


def test_an_engine_that_is_down_is_counted_as_failing(identity: Identity) -> None:
    with beside(f"http://127.0.0.1:{unused_port()}") as sidecar:
        posted(sidecar.url, identity, ASK, profile="output")
        found = requests_of(sidecar, 1)

    labels = tuple(sorted((CHAT, "failed", "false")))
    assert found["output_protection_requests_total", labels] == 1


def test_who_is_turned_away_is_counted_too() -> None:
    with (
        running(Engine(answering())) as engine,
        beside(engine.address, limits=Limits(at_once=0)) as sidecar,
    ):
        told = fetched(sidecar.url + CHAT, json=ASK, method="POST")
        found = requests_of(sidecar, 1)

    assert told.status_code == 503
    labels = tuple(sorted((CHAT, "failed", "false")))
    assert found["output_protection_requests_total", labels] == 1
    assert found["output_protection_requests_in_progress", ()] == 0


def test_settings_that_are_given_count_before_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load_settings(keyless_requests="allow")
    monkeypatch.setenv("SG_KEYLESS_REQUESTS", "maybe")
    with (
        running(Engine(answering())) as engine,
        beside(engine.address, settings=settings) as sidecar,
    ):
        told = fetched(sidecar.url + CHAT, json=ASK, method="POST")

    assert told.status_code == 200


def test_two_sidecars_in_one_process_count_for_themselves(identity: Identity) -> None:
    with (
        running(Engine(answering())) as engine,
        beside(engine.address) as one,
        beside(engine.address) as other,
    ):
        posted(one.url, identity, ASK, profile="output")
        asked = requests_of(one, 1)
        idle = metrics_of(other.url)

    name = "output_protection_seal_seconds_count"
    assert (asked[name, ()], idle[name, ()]) == (1, 0)


def test_the_engine_s_own_metrics_are_passed_on() -> None:
    async def serve(asked: Asked, writer: Any) -> None:
        say(writer, asked.path.encode(), content_type="text/plain")

    with running(Engine(serve)) as engine, beside(engine.address) as sidecar:
        told = fetched(f"{sidecar.url}/metrics?of=mine")
        fetched(sidecar.url + METRICS)

    assert told.text == "/metrics?of=mine"
    assert [it.path for it in engine.asked] == ["/metrics?of=mine"]


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("POST", 405), ("DELETE", 405)]
)
def test_other_methods(method: str, status: int) -> None:
    headers = {"accept": b"\xff", "accept-encoding": b"gzip, \xe9"}
    with running(Engine(answering())) as engine, beside(engine.address) as sidecar:
        told = fetched(sidecar.url + METRICS, method, headers=headers)

    assert told.status_code == status
    assert "output_protection" not in told.text
    assert not engine.asked


def test_each_request_is_one_line_of_the_log(
    identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, logger=REQUEST_LOGGER),
        running(Engine(answering())) as engine,
        beside(engine.address) as sidecar,
    ):
        posted(sidecar.url, identity, STREAM, profile="output")
        requests_of(sidecar, 1)

    lines = [it.getMessage() for it in caplog.records if it.name == REQUEST_LOGGER]
    (line,) = lines
    assert re.match(
        rf"request id=[0-9a-f]{{32}} route={CHAT} status=200 outcome=sealed code=- "
        r"profile=output key=[0-9a-f]{16} stream=true bytes_in=\d+ bytes_out=\d+ ",
        line,
    )


def test_the_command_logs_and_counts(identity: Identity, tmp_path: Path) -> None:
    # Shared with processes of other servers, it still shows what is its own.
    with (
        running(Engine(answering())) as engine,
        command(
            *("--upstream", engine.address),
            PROMETHEUS_MULTIPROC_DIR=str(tmp_path),
        ) as sidecar,
    ):
        posted(sidecar.url, identity, ASK, profile="output")
        found = metrics_of(sidecar.url)
        sidecar.stop()
        status, log = sidecar.ended()

    assert found["output_protection_live_keys", ()] == 1
    assert status == 0
    assert log.count("INFO request id=") == 1
    assert CANARY not in log


def test_a_folder_for_metrics_that_cannot_be_used_keeps_it_from_starting(
    tmp_path: Path,
) -> None:
    folder = str(tmp_path / "nowhere")
    said = refused(
        *("--upstream", "http://127.0.0.1:8000"), PROMETHEUS_MULTIPROC_DIR=folder
    )

    assert "PROMETHEUS_MULTIPROC_DIR" in said
    assert "or unset it" in said
