"""The measurement beside in-process protection runs, and reads the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import sidecar


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_each_way_is_measured_and_clients_read_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sidecar.main(["--quick", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert set(found["ways"]) == {"plain", "in_process", "sidecar"}
    assert "= engine " in sidecar.table(found)
    for row in found["ways"].values():
        assert row["late_ms"] > 0
        assert row["cpu_us"] >= 0
    assert len(found["ways"]["sidecar"]["cpu_us_of_each_process"]) == 2
