"""SDKs that retry and wrap what a transport raises show our errors as they are, too."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.client.conftest import SERVERS
from tests.client.environments import environment, run_script
from tests.client.fake_server import (
    ANSWER,
    JSON,
    FakeServer,
    Wire,
    chat_body,
    serve,
)

SDKS = {
    "venv-openai-1.109.1": "openai==1.109.1",
    "venv-openai-2": "openai>=2,<3",
}
ACTS = "pass,strip,redirect,cut"


def obey(server: FakeServer) -> None:
    """Let the request's ``user`` say what happens to its answer."""

    def tamper(wire: Wire) -> Wire:
        act = server.received[-1].asked["user"]
        if act == "strip":
            return Wire(200, {"content-type": JSON}, [chat_body()])
        if act == "redirect":
            return Wire(307, {"location": "/"}, [])
        if act == "cut":
            return replace(wire, parts=wire.parts[:3])
        return wire

    server.tamper = tamper


@dataclass
class Asked:
    """What came of each act on each kind of request, and how often it was sent."""

    outcomes: dict[str, dict[str, str]]
    attempts: dict[str, int]


@pytest.fixture(scope="module", params=SDKS)
def asked(request: pytest.FixtureRequest) -> dict[str, Asked]:
    """What came of asking the server of each profile, all from one process."""
    python = environment(request.param, sys.executable, SDKS[request.param])
    with serve(FakeServer()) as output, serve(SERVERS["sealed"]()) as sealed:
        servers = (output, sealed)
        told: list[str] = []
        for server in servers:
            obey(server)
            told += (server.profile, server.base_url, server.fingerprint)
        printed: dict[str, Any] = json.loads(
            run_script(python, "sdk_script.py", ACTS, *told)
        )
        return {
            server.profile: Asked(
                printed[server.profile],
                {act: attempts_of(server, act) for act in ACTS.split(",")},
            )
            for server in servers
        }


def attempts_of(server: FakeServer, act: str) -> int:
    return sum(request.asked["user"] == act for request in server.attempts)


@pytest.mark.parametrize("profile", SERVERS)
def test_an_old_sdk(profile: str, asked: dict[str, Asked]) -> None:
    outcomes = asked[profile].outcomes

    def whole(kind: str) -> str:
        is_raw = "text" in kind or "streaming" in kind
        return chat_body().decode() if is_raw else ANSWER

    assert len(outcomes["pass"]) == 8
    assert outcomes["pass"] == {kind: whole(kind) for kind in outcomes["pass"]}
    assert set(outcomes["strip"].values()) == {"UnprotectedResponseError from NoneType"}
    assert set(outcomes["redirect"].values()) == {"RedirectRefusedError from NoneType"}
    once = len(outcomes["pass"])
    attempts = asked[profile].attempts
    assert [attempts[act] for act in ("pass", "strip", "redirect")] == [once] * 3


@pytest.mark.parametrize("profile", SERVERS)
def test_an_old_sdk_and_a_cut_stream(profile: str, asked: dict[str, Asked]) -> None:
    outcomes = asked[profile].outcomes["cut"]
    assert outcomes["stream"] == "TruncatedError from NoneType"
    assert outcomes["async stream"] == "TruncatedError from NoneType"
