"""``sg-vllm doctor`` of real vLLM, with nothing in between."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from stainedglass_output_protection.apps import cli
from stainedglass_output_protection.protocol.identity import IdentityKey
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.servers import Server

pytestmark = pytest.mark.vllm

Examine = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def examine(
    main_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Examine:
    """Runs the command on the main server; returns the exit status and the JSON."""

    def run(*options: str) -> tuple[int, dict[str, Any]]:
        words = ["sg-vllm", "doctor", f"{main_server.url}/v1", "--json", *options]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, json.loads(capsys.readouterr().out)

    return run


def of(report: dict[str, Any], *outcomes: str) -> dict[str, str]:
    return {
        check["name"]: check["seen"]
        for check in report["checks"]
        if check["outcome"] in outcomes
    }


@pytest.fixture(scope="module")
def errors_seen() -> list[bool]:
    """Whether each run so far had its error from the server."""
    return []


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_a_clean_path_has_no_finding(
    examine: Examine, identity: Identity, profile: str, errors_seen: list[bool]
) -> None:
    pinned = ("--identity", identity.fingerprint)

    status, report = examine(*pinned, "--profile", profile, "--provoke-error")

    # A busy machine may hold events like a gateway; that has tests of its own.
    assert of(report, "warning", "fault").keys() <= {"timing"}
    assert of(report, "fault") == {}
    assert (status, report["protected"]) == (0, True)
    assert "written anew" not in of(report, "ok")["request-rewriting"]
    # The server gives one error a minute: to one of these two at least.
    well = of(report, "ok").keys()
    assert {"comments", "repeated-headers"} <= well
    errors_seen.append("retries" in well)
    assert any(errors_seen)
    # What the server asks no key for, and how quick it is, is no fault of the path.
    unseen = {"authorization", "retries", "timing"}
    assert set(of(report, "not_tested")) <= unseen


def test_of_a_server_that_nobody_has_pinned_it_is_not_shown_that_protection_holds(
    examine: Examine, identity: Identity
) -> None:
    status, report = examine()

    # A busy machine may hold events like a gateway; that has tests of its own.
    assert set(of(report, "warning", "fault")) - {"timing"} == {"identity"}
    assert (status, report["protected"]) == (1, False)
    (advice,) = [it["advice"] for it in report["checks"] if it["name"] == "identity"]
    assert f"SG_SERVER_IDENTITY={identity.fingerprint}" in advice


def test_another_server_than_the_pinned_one_is_named_and_asked_nothing_more(
    examine: Examine,
) -> None:
    status, report = examine("--identity", IdentityKey.generate().fingerprint)

    assert (status, list(of(report, "warning", "fault"))) == (1, ["identity"])
    assert report["requests"] == 1
