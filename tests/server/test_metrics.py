"""The metrics: what each is after requests and rotations, of one process and of several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, multiprocess
from prometheus_client.parser import text_string_to_metric_families

from stainedglass_output_protection.errors import KeysUnavailableError
from stainedglass_output_protection.server import responder
from stainedglass_output_protection.server.epoch_table import Table
from stainedglass_output_protection.server.epochs import EpochTimes
from stainedglass_output_protection.server.key_ring import KeyRing
from stainedglass_output_protection.server.own_epochs import OwnEpochs
from stainedglass_output_protection.server.policy import KeylessPolicy
from stainedglass_output_protection.server.refusal_list import REFUSALS
from stainedglass_output_protection.server.shared_epochs import SharedEpochs
from tests.asgi_driver import CHAT, answering, body_of, make_ring
from tests.rings import HOUR, IDENTITY, Clocks
from tests.server.asking import ANSWER, JSON, ask, fresh
from tests.server.observing import (
    DONE,
    EVENT,
    STREAM,
    Metrics,
    observed,
    raising_later,
)
from tests.server.sealing import sealed

ROOT = Path(__file__).resolve().parents[2]
_, KEY = fresh()
KEYED: dict[str, Any] = {"header_keys": [KEY]}
UNARY = answering(ANSWER, content_type=JSON)


async def test_requests_are_counted_by_route_outcome_and_stream() -> None:
    metrics = Metrics()
    for app, times in ((STREAM, 3), (UNARY, 2), (raising_later, 1)):
        for _ in range(times):
            await ask(observed(app, metrics.observer), b"{}", **KEYED)
    await ask(observed(UNARY, metrics.observer), b"{}", path="/added", **KEYED)
    await ask(observed(UNARY, metrics.observer), b"{}")

    def count(route: str, outcome: str, stream: str) -> float | None:
        labels = {"route": route, "outcome": outcome, "stream": stream}
        return metrics.value("requests_total", **labels)

    assert count(CHAT, "sealed", "true") == 3
    assert count(CHAT, "sealed", "false") == 2
    assert count(CHAT, "failed", "true") == 1
    assert count("/added", "sealed", "false") == 1
    assert count(CHAT, "refused", "false") == 1
    assert metrics.value("requests_in_progress") == 0


async def test_paths_that_clients_make_up_are_one_label() -> None:
    metrics = Metrics()
    target = observed(UNARY, metrics.observer)
    for number in range(200):
        await ask(target, b"{}", path=f"/v1/made-up/{number}", **KEYED)
        await ask(target, b"{}", path=f"{CHAT}/{number}?x={number}", **KEYED)
    assert {item["route"] for item in metrics.series("requests_total")} == {"other"}
    assert metrics.value("refusals_total", code="route_not_protected") == 400


async def test_bytes_are_those_of_the_wire() -> None:
    metrics, ring = Metrics(), make_ring()
    target = observed(STREAM, metrics.observer, ring)
    out = taken = 0
    for _ in range(3):
        body = sealed(ring).body
        taken += len(body)
        # In pieces, as they arrive.
        out += len(body_of(await ask(target, body[:100], body[100:])))
    assert metrics.value("request_bytes_total", route=CHAT) == taken
    assert metrics.value("response_bytes_total", route=CHAT) == out


@pytest.mark.parametrize("app", [STREAM, UNARY])
async def test_sealing_is_timed_once_for_each_answer(app: Any) -> None:
    metrics = Metrics()
    for _ in range(4):
        await ask(observed(app, metrics.observer), b"{}", **KEYED)
    await ask(observed(app, metrics.observer), b"{}")
    assert metrics.value("seal_seconds_count") == 4
    assert metrics.value("seal_seconds_bucket", le="+Inf") == 4
    assert 0 < (metrics.value("seal_seconds_sum") or 0)


async def test_the_clock_is_not_looked_at_for_each_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []
    monkeypatch.setattr(
        responder, "perf_counter", lambda: looks.append(1) or float(len(looks))
    )
    counts = []
    for events in (2, 200):
        looks.clear()
        app = answering(*[EVENT] * events, DONE)
        await ask(observed(app, Metrics().observer), b"{}", **KEYED)
        counts.append(len(looks))
    assert counts[0] == counts[1] > 0


async def test_a_replay_is_an_increase_from_zero() -> None:
    metrics, ring = Metrics(), make_ring()
    assert {item["code"] for item in metrics.series("refusals_total")} == set(REFUSALS)
    assert metrics.value("refusals_total", code="request_replayed") == 0
    target, body = observed(UNARY, metrics.observer, ring), sealed(ring).body
    for _ in range(3):
        await ask(target, body)
    assert metrics.value("refusals_total", code="request_replayed") == 2


@pytest.mark.parametrize("policy", list(KeylessPolicy))
async def test_a_clear_answer_is_counted_only_where_the_operator_allows_it(
    policy: KeylessPolicy,
) -> None:
    # The alert on them takes one, however old, for a setting that still holds.
    metrics = Metrics()
    for app in (UNARY, STREAM):
        target = observed(app, metrics.observer, keyless=policy)
        await ask(target, b"{}")
        await ask(target, b"{}", **KEYED)
        await ask(target, b"{}", path="/made/up")
    clear = [
        (item["route"], item["stream"])
        for item in metrics.series("requests_total")
        if item["outcome"] == "clear"
    ]
    is_allowed = policy is KeylessPolicy.ALLOW
    assert sorted(clear) == ([(CHAT, "false"), (CHAT, "true")] if is_allowed else [])


def test_keys_are_told_by_times_that_stand_still_when_rotation_does(
    tmp_path: Path,
) -> None:
    metrics, clocks = Metrics(), Clocks()
    path = tmp_path / "epochs"
    path.write_bytes(Table().encode())
    source = SharedEpochs(path, EpochTimes(HOUR), elapsed=clocks.elapsed)
    ring = KeyRing(IDENTITY, source, elapsed=clocks.elapsed, observer=metrics.observer)
    began = clocks.now
    ring.tick(clocks.now)
    assert metrics.value("live_keys") == 1
    assert metrics.value("key_period_seconds") == 3600
    ring.tick(clocks.go(HOUR))
    assert metrics.value("live_keys") == 2
    assert metrics.value("key_start_timestamp_seconds") == (began + HOUR) / 1000
    assert metrics.value("key_expiry_timestamp_seconds") == (began + 3 * HOUR) / 1000
    assert metrics.value("rotations_total", result="ok") == 2
    assert metrics.value("rotations_total", result="failed") == 0
    ring.tick(clocks.go(1000))
    assert metrics.value("rotations_total", result="ok") == 2

    path.unlink()
    for _ in range(3):
        with pytest.raises(KeysUnavailableError):
            ring.tick(clocks.go(HOUR))
    assert metrics.value("rotations_total", result="ok") == 2
    assert metrics.value("rotations_total", result="failed") == 3
    assert metrics.value("live_keys") == 0
    assert metrics.value("key_start_timestamp_seconds") == (began + HOUR) / 1000
    assert metrics.value("key_expiry_timestamp_seconds") == (began + 3 * HOUR) / 1000


def test_a_provider_of_evidence_that_fails_is_a_failed_rotation() -> None:
    metrics, clocks = Metrics(), Clocks()
    answers: list[Any] = [b"evidence"]

    def provider(digest: bytes) -> bytes:
        made: bytes = answers.pop()
        return made

    source = OwnEpochs(EpochTimes(HOUR), elapsed=clocks.elapsed)
    ring = KeyRing(
        IDENTITY,
        source,
        evidence=provider,
        elapsed=clocks.elapsed,
        observer=metrics.observer,
    )
    ring.tick(clocks.now)
    with pytest.raises(KeysUnavailableError):
        ring.tick(clocks.go(HOUR))
    assert metrics.value("rotations_total", result="ok") == 1
    assert metrics.value("rotations_total", result="failed") == 1
    assert metrics.value("live_keys") == 1


PROCESS = """
import sys
from stainedglass_output_protection.server.metrics import PrometheusObserver
from stainedglass_output_protection.server.observer import Finished, KeyState
observer = PrometheusObserver()
for number in range(int(sys.argv[1])):
    observer.request_began()
    observer.request_ended(Finished("0" * 32, "/v1/chat/completions", 200, "sealed", "",
        "sealed", "00" * 8, True, 10, 100, 0.5, 0.002))
observer.request_began()
observer.rotated(made=1, has_failed=False)
start = int(sys.argv[2]) * 1000
observer.keys_are(KeyState("server", 3_600_000, 2, start, start + 7_200_000))
print("ready", flush=True)
sys.stdin.read()
"""


def processes(folder: Path, *arguments: tuple[int, int]) -> list[Any]:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, *map(str, item)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environ,
        )
        for item in arguments
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    return started


def test_the_numbers_of_several_processes_add_up(tmp_path: Path) -> None:
    started = processes(tmp_path, (3, 2_000), (4, 5_000))
    try:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(tmp_path))

        def value(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(f"output_protection_{name}", labels)

        labels = {"route": CHAT, "outcome": "sealed", "stream": "true"}
        assert value("requests_total", **labels) == 7
        assert value("request_bytes_total", route=CHAT) == 70
        assert value("response_bytes_total", route=CHAT) == 700
        assert value("seal_seconds_count") == 7
        assert value("rotations_total", result="ok") == 2
        # One series without a process id each: the sum, or the worst of them.
        assert value("requests_in_progress") == 2
        assert value("live_keys") == 2
        assert value("key_start_timestamp_seconds") == 2_000
        assert value("key_expiry_timestamp_seconds") == 9_200
    finally:
        for process in started:
            process.communicate()


@pytest.mark.parametrize("kind", ["missing", "a file", "no place for files"])
def test_a_folder_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, kind: str
) -> None:
    folder = {
        "missing": tmp_path / "nowhere",
        "a file": tmp_path / "file",
        "no place for files": Path("/proc"),
    }[kind]
    (tmp_path / "file").touch()
    program = (
        "from stainedglass_output_protection.errors import ConfigurationError\n"
        "from stainedglass_output_protection.server.metrics import prometheus_observer\n"
        "try: prometheus_observer()\n"
        "except ConfigurationError as error: print(error)\n"
    )
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environ,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("PROMETHEUS_MULTIPROC_DIR: metrics cannot be kept")
    assert done.stdout.count("\n") == 1


def test_the_middleware_does_not_import_the_library() -> None:
    program = (
        "import sys\n"
        "import stainedglass_output_protection.server.middleware\n"
        "import stainedglass_output_protection.server.sealed_authorization\n"
        "print('prometheus_client' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "False\n"


def test_the_text_parses() -> None:
    from prometheus_client import generate_latest

    text = generate_latest(Metrics().registry).decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert "output_protection_requests" in names
    assert all(name.startswith("output_protection_") for name in names)
