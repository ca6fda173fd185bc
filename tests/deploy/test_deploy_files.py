"""The dashboard and the alert rules: valid, and about metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from stainedglass_output_protection.server.outcomes import OUTCOMES
from stainedglass_output_protection.server.refusal_list import REFUSALS
from tests.deploy.promtool import promtool
from tests.server.observing import Metrics

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus-rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana-dashboard.json"


def known_names() -> set[str]:
    metrics = Metrics()
    names = set()
    for family in metrics.registry.collect():
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
        }.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


@pytest.mark.parametrize("path", [RULES, DASHBOARD])
def test_every_metric_and_label_that_is_asked_for_is_one_of_ours(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('\\"', '"')
    asked = set(re.findall(r"\boutput_protection_[a-z_]+", text))
    assert len(asked) > 5
    assert asked <= known_names()
    assert set(re.findall(r'code="(\w+)"', text)) <= set(REFUSALS)
    assert set(re.findall(r'outcome="(\w+)"', text)) <= set(OUTCOMES)


def test_every_metric_is_on_the_dashboard() -> None:
    text = DASHBOARD.read_text(encoding="utf-8")
    left_out = {"key_period_seconds", "seal_seconds_sum", "seal_seconds_count"}
    shown = {name for name in known_names() if name in text}
    assert known_names() - shown == {f"output_protection_{it}" for it in left_out}


def test_the_dashboard_loads_and_its_panels_lie_side_by_side() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) > 8
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken
                taken.add((x, y))
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        for target in panel["targets"]:
            assert target["datasource"] == {
                "type": "prometheus",
                "uid": "${datasource}",
            }
            assert target["expr"].count("(") == target["expr"].count(")")
    names = [item["name"] for item in board["templating"]["list"]]
    assert names == ["datasource", "job", "instance"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "deploy/prometheus-rules.yml"),
        ("test", "rules", "tests/deploy/rules_test.yml"),
        ("test", "rules", "tests/deploy/targets_test.yml"),
        ("test", "rules", "tests/deploy/keys_test.yml"),
    ],
    ids=["check", "requests and rotation", "targets", "keys"],
)
def test_prometheus_accepts_the_rules_and_they_fire_when_they_should(
    arguments: tuple[str, ...],
) -> None:
    assert "SUCCESS" in promtool(*arguments)


def test_the_rules_know_the_jobs_that_the_examples_make() -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    monitors = (ROOT / "deploy" / "kubernetes" / "monitoring").glob("pod*.yaml")
    page = (ROOT / "docs" / "any-engine.md").read_text(encoding="utf-8")
    sidecars = re.search(r"job_name: (\S+)\n\s+metrics_path: \S+/metrics\n", page)
    assert sidecars
    jobs = [
        *(item["job_name"] for item in scraped["scrape_configs"]),
        # As the operator names them.
        *(f"x/{yaml.safe_load(it.read_text())['metadata']['name']}" for it in monitors),
        sidecars[1],
    ]
    assert len(jobs) == 3
    known = re.findall(r'up\{job=~"(.+)"\}', RULES.read_text(encoding="utf-8"))
    assert len(known) == 3
    for pattern in known:
        assert all(re.fullmatch(pattern, job) for job in jobs)


def test_prometheus_accepts_what_the_dashboard_asks(tmp_path: Path) -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [
        target["expr"]
        .replace("$__rate_interval", "5m")
        .replace("$job", ".*")
        .replace("$instance", ".*")
        for panel in board["panels"]
        for target in panel["targets"]
    ]
    assert not any("$" in item for item in asked)
    rules = [{"record": f"asked:{at}", "expr": it} for at, it in enumerate(asked)]
    path = tmp_path / "rules.yml"
    # JSON is YAML.
    path.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", path)


def test_prometheus_accepts_our_metrics() -> None:
    from prometheus_client import generate_latest

    promtool("check", "metrics", given=generate_latest(Metrics().registry))
