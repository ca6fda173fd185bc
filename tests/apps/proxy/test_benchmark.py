"""The measurement of the proxy runs, and reports what it has to."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("mistral_common", reason="the benchmarks read its tokenizer")

from benchmarks import proxy


def test_quick_run_reports_both_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert proxy.main(["--quick", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert {"added_ms", "added_by_nothing_ms", "met"} <= set(found["first_event"])
    streams = found["streams"]
    assert streams["proxy"]["whole"] == streams["nothing"]["whole"] == 10
    assert {"worst_ms", "p99_ms"} <= set(streams["proxy"])
