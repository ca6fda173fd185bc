"""SDKs that retry and wrap what a transport raises show our errors as they are, too."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from tests.client.environments import environment, run_script
from tests.client.fake_server import (
    ANSWER,
    JSON,
    FakeServer,
    Wire,
    chat_body,
)

SDKS = {
    "venv-openai-1.109.1": "openai==1.109.1",
    "venv-openai-2": "openai>=2,<3",
}


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


@pytest.mark.parametrize("name", SDKS)
def test_an_old_sdk(name: str, server: FakeServer) -> None:
    python = environment(name, sys.executable, SDKS[name])
    obey(server)
    printed = run_script(
        python, "sdk_script.py", server.base_url, "pass,strip,redirect"
    )
    outcomes = json.loads(printed)

    def whole(kind: str) -> str:
        is_raw = "text" in kind or "streaming" in kind
        return chat_body().decode() if is_raw else ANSWER

    assert outcomes["pass"] == {kind: whole(kind) for kind in outcomes["pass"]}
    assert set(outcomes["strip"].values()) == {"UnprotectedResponseError from NoneType"}
    assert set(outcomes["redirect"].values()) == {"RedirectRefusedError from NoneType"}
    assert len(server.received) == 3 * len(outcomes["pass"])


@pytest.mark.parametrize("name", SDKS)
def test_an_old_sdk_and_a_cut_stream(name: str, server: FakeServer) -> None:
    python = environment(name, sys.executable, SDKS[name])
    obey(server)
    outcomes = json.loads(run_script(python, "sdk_script.py", server.base_url, "cut"))
    assert outcomes["cut"]["stream"] == "TruncatedError from NoneType"
    assert outcomes["cut"]["async stream"] == "TruncatedError from NoneType"
