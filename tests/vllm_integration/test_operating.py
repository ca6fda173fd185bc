"""Operating a real server, with one API-server process and with two.

Metrics that add up, one log line for each request, readiness, new keys by a signal, and
an end that lets running streams finish. The tests run in their order: the last one ends
the server.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stainedglass_output_protection.client import protected_client
from stainedglass_output_protection.client.verdict import Mark
from tests.tiny_dialogues import BY_NAME
from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.attacks.relay import Relay, serving
from tests.vllm_integration.conftest import SG_VLLM, Identity, Say
from tests.vllm_integration.servers import (
    MODEL,
    MODEL_OPTIONS,
    QUICK,
    Server,
    free_port,
    launch,
    tail,
    wait_for,
)
from tests.vllm_integration.shapes import CHAT

pytestmark = pytest.mark.vllm

READY = "/.well-known/output-protection/ready"
ROUTES = (CHAT, "other")
START_LIMIT_S = 500.0
END_LIMIT_S = 120.0
# A quarter of a minute of work for the engine: a signal comes in the middle of it.
LONG = {"max_tokens": 6000, "ignore_eos": True, "temperature": 1, "stream": True}
LINE = re.compile(
    r"request id=([0-9a-f]{32}) route=(\S+) status=(\d+) outcome=(\w+) code=([\w-]+) "
    r"profile=(\S+) key=(\S+) stream=(\w+) bytes_in=(\d+) bytes_out=(\d+) "
    r"seconds=\d+\.\d{3}"
)


@dataclass
class Operated:
    """A server, how many processes answer for it, and the identity that it has."""

    server: Server
    processes: int
    identity: str
    signalled_early: int

    @property
    def url(self) -> str:
        return self.server.url

    def ask_once(self, path: str, **options: Any) -> httpx2.Response:
        """Ask over a new connection: the kernel deals those out to the processes."""
        with httpx2.Client(base_url=self.url, timeout=TIMEOUT_S) as client:
            return client.request(options.pop("method", "GET"), path, **options)

    def key_ids(self) -> set[str]:
        """Return what a number of probes say answers now."""
        answers = [self.ask_once(READY) for _ in range(4 * self.processes)]
        assert {answer.status_code for answer in answers} == {200}
        return {answer.json()["key_id"] for answer in answers}


@pytest.fixture(scope="module", params=[1, 2], ids=["single", "double"])
def operated(
    request: pytest.FixtureRequest, folder: Path, identity: Identity, say: Say
) -> Iterator[Operated]:
    """A server that was signalled while it started, ready by its own word."""
    count: int = request.param
    name, port = f"operated {count}", free_port()
    several = ("--api-server-count", "2") if count > 1 else ()
    process, log_path = launch(
        name,
        (
            *(*SG_VLLM, *MODEL_OPTIONS, *QUICK, *several, "--shutdown-timeout", "300"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ),
        folder,
        {"SG_IDENTITY_KEY_FILE": str(identity.path)},
    )
    server = Server(port, process, log_path)
    made = Operated(server, count, identity.fingerprint, 0)

    def is_ready() -> bool:
        assert process.poll() is None, tail(log_path)
        # From the moment when it speaks, at any point of its start.
        if "Output protection settings" in server.log and made.signalled_early < 5:
            os.kill(process.pid, signal.SIGUSR1)
            made.signalled_early += 1
        with contextlib.suppress(httpx2.TransportError):
            return made.ask_once(READY).status_code == 200
        return False

    try:
        wait_for(is_ready, "readiness", START_LIMIT_S)
        say(f"{name}: ready")
        yield made
    finally:
        server.end()


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (
            sample.name.removeprefix("output_protection_"),
            frozenset(sample.labels.items()),
        ): (sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("output_protection_")
    }


def scrape(operated: Operated) -> dict[Any, float]:
    answer = operated.ask_once("/metrics")
    assert answer.status_code == 200
    return samples(answer.text)


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


def test_signals_during_the_start_do_no_harm(operated: Operated) -> None:
    assert operated.signalled_early == 5
    assert "SIGUSR1: new epoch keys." in operated.server.log
    assert len(operated.key_ids()) == 1
    assert operated.ask_once("/health").status_code == 200


def test_readiness_needs_no_key_and_tells_which_one_answers(operated: Operated) -> None:
    members = operated.ask_once(READY).json()
    assert members["ready"] is True
    assert members["mode"] == "server"
    assert 1 <= members["live_keys"] <= 2
    assert 0 < members["expires_in_s"] <= 7200
    document = operated.ask_once("/.well-known/output-protection").json()
    assert document["key_id"] == members["key_id"]


def test_numbers_add_up_and_each_request_has_one_line(operated: Operated) -> None:
    before = scrape(operated)
    logged = len(LINE.findall(operated.server.log))
    path, body = BY_NAME["canary"].request(MODEL)
    counts = {"sealed": 12, "output": 8, "keyless": 6, "made up": 5}

    with serving(Relay(operated.server.port)) as relay:
        for number in range(counts["sealed"] + counts["output"]):
            profile = "sealed" if number < counts["sealed"] else "output"
            with protected_client(
                identity=operated.identity,
                profile=profile,
                base_url=relay.url,
                timeout=TIMEOUT_S,
            ) as client:
                answer = client.post(path, json={**body, "stream": number % 2 == 0})
                assert answer.extensions["output_protection"].mark is Mark.OPENED
        # What was refused only to give the client the first key document is in here too.
        wire_in = sum(len(item.body) for item in relay.requests if item.body)
        replayed = relay.forward(relay.sealed[0])
        assert replayed.status == 425
        wire_in += len(relay.sealed[0].body)
    for number in range(counts["keyless"]):
        answer = operated.ask_once(CHAT, method="POST", content=b"%d" % number)
        assert answer.status_code == 400
        wire_in += 1
    for number in range(counts["made up"]):
        operated.ask_once(f"/v1/made-up/{number}", method="POST", json={})

    def sealed_ones(found: dict[Any, float]) -> float:
        return sum(
            value(found, "requests_total", route=CHAT, outcome="sealed", stream=it)
            for it in ("true", "false")
        )

    asked = counts["sealed"] + counts["output"]
    # An answer's end is counted after its last byte.
    wait_for(lambda: sealed_ones(scrape(operated)) >= asked, "the counts")
    found = scrape(operated)

    def increase(name: str, **labels: str) -> float:
        return value(found, name, **labels) - value(before, name, **labels)

    assert sealed_ones(found) - sealed_ones(before) == asked
    assert (
        increase("requests_total", route=CHAT, outcome="sealed", stream="true")
        == asked / 2
    )
    # The refusal of the replay is sealed too.
    assert increase("seal_seconds_count") == asked + 1
    assert increase("refusals_total", code="client_key_missing") == counts["keyless"]
    assert increase("refusals_total", code="request_replayed") == 1
    assert increase("request_bytes_total", route=CHAT) > 0
    assert value(found, "requests_in_progress") == 0
    # No path that a client made up is a label.
    routes = {
        dict(labels)["route"] for name, labels in found if name == "requests_total"
    }
    assert routes <= set(ROUTES)

    lines = LINE.findall(operated.server.log)[logged:]
    total = sum(
        count - before.get(key, 0)
        for key, count in found.items()
        if key[0] == "requests_total"
    )
    assert len(lines) == total == asked + counts["keyless"] + 1
    assert len({line[0] for line in lines}) == total
    written = sum(int(line[9]) for line in lines if line[1] == CHAT)
    assert increase("response_bytes_total", route=CHAT) == written
    read = sum(int(line[8]) for line in lines if line[1] == CHAT)
    assert increase("request_bytes_total", route=CHAT) == read
    assert read == wire_in
    if operated.processes > 1:
        named = re.findall(r"\(ApiServer_(\d) .*request id=", operated.server.log)
        assert set(named) == {"0", "1"}


def test_keys_are_told_as_times_by_whichever_process_is_scraped(
    operated: Operated,
) -> None:
    seen = [scrape(operated) for _ in range(6)]
    for found in seen:
        start = value(found, "key_start_timestamp_seconds")
        expiry = value(found, "key_expiry_timestamp_seconds")
        assert value(found, "key_period_seconds") == 3600
        assert expiry - start == 7200
        assert value(found, "rotations_total", result="ok") >= operated.processes
        assert value(found, "rotations_total", result="failed") == 0
    starts = {value(found, "key_start_timestamp_seconds") for found in seen}
    assert len(starts) == 1


@pytest.mark.parametrize("whom", ["the parent", "the whole group"])
def test_a_signal_makes_new_keys_in_every_process(
    operated: Operated, whom: str
) -> None:
    old = operated.key_ids()
    assert len(old) == 1
    before = scrape(operated)
    if whom == "the parent":
        os.kill(operated.server.process.pid, signal.SIGUSR1)
    else:
        os.killpg(operated.server.process.pid, signal.SIGUSR1)
    new = wait_for(
        lambda: ids if len(ids := operated.key_ids()) == 1 and ids != old else None,
        "the new key in every process",
    )
    assert new != old
    found = scrape(operated)
    made = value(found, "rotations_total", result="ok") - value(
        before, "rotations_total", result="ok"
    )
    assert made == operated.processes
    path, body = BY_NAME["canary"].request(MODEL)
    with protected_client(
        identity=operated.identity, base_url=operated.url, timeout=TIMEOUT_S
    ) as client:
        assert client.post(path, json=body).status_code == 200


def test_docs_take_the_client_key_and_show_errors(operated: Operated) -> None:
    shown = operated.ask_once("/openapi.json").json()
    schemes = shown["components"]["securitySchemes"].values()
    assert [(it["type"], it["in"], it["name"]) for it in schemes] == [
        ("apiKey", "header", "x-client-public-key")
    ]
    chat = shown["paths"][CHAT]["post"]
    assert len(chat["security"]) == 1
    assert "`client_key_missing`" in chat["responses"]["400"]["description"]
    assert "x-server-public-key" in chat["responses"]["200"]["headers"]
    assert "security" not in shown["paths"]["/health"]["get"]
    assert operated.ask_once("/docs").status_code == 200


def test_running_streams_end_whole_when_the_server_is_told_to_stop(
    operated: Operated,
) -> None:
    process = operated.server.process
    path, body = BY_NAME["story"].request(MODEL)

    def answer_of(path: str, **options: Any) -> httpx2.Response:
        # A process without a stream has gone already, with the connections it had.
        def once() -> httpx2.Response | None:
            with contextlib.suppress(httpx2.TransportError):
                return operated.ask_once(path, **options)
            return None

        found: httpx2.Response = wait_for(once, "an answer", 60)
        return found

    def probes() -> set[int]:
        answers = [answer_of(READY) for _ in range(4 * operated.processes)]
        return {answer.status_code for answer in answers}

    with contextlib.ExitStack() as stack:
        streams = []
        for _ in range(2 * operated.processes):
            client = stack.enter_context(
                protected_client(
                    identity=operated.identity,
                    base_url=operated.url,
                    timeout=TIMEOUT_S,
                )
            )
            answer = stack.enter_context(
                client.stream("POST", path, json={**body, **LONG})
            )
            pieces = answer.iter_bytes()
            streams.append((answer, pieces, next(pieces)))
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: probes() == {503}, "the refusal of new requests", 60)
        assert "is stopping" in answer_of(READY).json()["reason"]
        assert answer_of(CHAT, method="POST", content=b"{}").status_code == 503
        for answer, pieces, first in streams:
            whole = first + b"".join(pieces)
            assert whole.endswith(b"data: [DONE]\n\n")
            assert b'"finish_reason":"length"' in whole
            assert answer.extensions["output_protection"].mark is Mark.OPENED
    assert process.wait(END_LIMIT_S) == 0
