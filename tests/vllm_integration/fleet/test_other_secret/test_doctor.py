"""Doctor names the replica's other secret, and finds the fleet of one secret well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.vllm_integration.asking import TIMEOUT_S
from tests.vllm_integration.conftest import Identity
from tests.vllm_integration.fleet.router import Router
from tests.vllm_integration.fleet.test_other_secret.two_secrets import TwoSecrets

pytestmark = pytest.mark.vllm

_SG_VLLM = str(Path(sys.executable).with_name("sg-vllm"))


def doctor(url: str, *, identity: str, profile: str) -> tuple[int, dict[str, Any]]:
    """Run ``sg-vllm doctor`` and return its exit status and its report."""
    options = ("--identity", identity, "--profile", profile)
    limit = ("--timeout", str(round(TIMEOUT_S)))
    done = subprocess.run(
        [_SG_VLLM, "doctor", f"{url}/v1", *options, *limit, "--json"],
        capture_output=True,
        text=True,
        timeout=8 * TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("profile", ["sealed", "output"])
def test_doctor_names_it(two: TwoSecrets, identity: Identity, profile: str) -> None:
    status, report = doctor(
        two.router.url, identity=identity.fingerprint, profile=profile
    )

    outcomes = {it["name"]: it["outcome"] for it in report["checks"]}
    # In profile output answers come all the same.
    outcome = outcomes.pop("replicas")
    assert outcome == ("fault" if profile == "sealed" else "warning")
    assert "fault" not in outcomes.values()
    (row,) = [it for it in report["checks"] if it["name"] == "replicas"]
    assert "reached another one, which does not have it" in row["seen"]
    assert "SG_IDENTITY_KEY_FILE and SG_FLEET_SECRET_FILE" in row["advice"]
    assert status == (outcome == "fault")
    if profile == "sealed":
        said = "Profile sealed does not work here: A request that was sealed to one "
        assert report["summary"].startswith(said)


def test_doctor_finds_the_fleet_of_one_secret_well(
    router: Router, identity: Identity
) -> None:
    status, report = doctor(router.url, identity=identity.fingerprint, profile="sealed")

    assert status == 0
    outcomes = {it["name"]: it["outcome"] for it in report["checks"]}
    assert outcomes["replicas"] == "ok"
