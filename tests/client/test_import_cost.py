"""What a program loads when its client becomes a protected one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import import_cost

PACKAGE = "stainedglass_output_protection"
SERVER_SIDE = {
    *("starlette", "fastapi", "uvicorn", "pydantic_settings"),
    *("click", "rich", "vllm", "torch", "sqlite3"),
}


def loaded_by(program: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter has loaded by then."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("sdk", import_cost.SDKS, ids=lambda sdk: sdk.name)
def test_a_protected_client_loads_no_server_code(sdk: import_cost.Sdk) -> None:
    added = loaded_by(sdk.protected) - loaded_by(sdk.plain)

    assert f"{PACKAGE}.client.factory" in added
    assert not {name.partition(".")[0] for name in added} & SERVER_SIDE
    for layer in ("server", "vllm", "apps"):
        assert f"{PACKAGE}.{layer}" not in added


@pytest.mark.parametrize("sdk", import_cost.SDKS, ids=lambda sdk: sdk.name)
def test_what_only_some_clients_need_is_loaded_by_them_alone(
    sdk: import_cost.Sdk, tmp_path: Path
) -> None:
    known_servers = f"{PACKAGE}.client.known_servers"
    assert known_servers not in loaded_by(sdk.protected)

    choice = f"import os; os.environ['SG_KNOWN_SERVERS_FILE'] = {str(tmp_path / 'k')!r}"
    trusting = sdk.protected.replace("identity=", "trust_on_first_use=True, identity=")
    assert known_servers in loaded_by(f"{choice}\n{trusting}")


def test_the_measurement_runs_and_says_what_it_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import_cost.main(["--rounds", "1"])

    printed = capsys.readouterr().out
    for sdk in import_cost.SDKS:
        assert sdk.name in printed
