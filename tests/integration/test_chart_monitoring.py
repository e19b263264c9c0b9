"""What the chart brings for those who watch: the alerts as a PrometheusRule, the dashboards as ConfigMaps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.chart_support import NAMESPACE, RELEASE, VERSION, kind, rendered, try_helm
from tests.integration.test_alerts import ALERTS, NAMES, promtool

from bed import chart

pytestmark = pytest.mark.integration

RULE = "metrics.prometheusRule"


def groups(*settings: str) -> list[dict[str, Any]]:
    documents = rendered(f"{RULE}.enabled=true", *settings)
    return list(kind(documents, "PrometheusRule")[0]["spec"]["groups"])


def test_the_rules_of_the_chart_are_those_of_the_file() -> None:
    """So what is tested of that file holds for the chart. They are off unless asked for."""
    assert groups() == yaml.safe_load(ALERTS.read_text())["groups"]
    assert kind(rendered(), "PrometheusRule") == []


def test_an_alert_can_be_left_out_and_others_added(tmp_path: Path) -> None:
    """Prometheus takes what comes of it."""
    own = f"{RULE}.rules[0].alert=Own,{RULE}.rules[0].expr=vector(1)"
    changed = groups(f"{RULE}.disabled.{NAMES[0]}=true,{own}")
    assert [rule["alert"] for group in changed for rule in group["rules"]] == [*NAMES[1:], "Own"]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": changed}))
    assert f"{len(NAMES)} rules found" in promtool("check", "rules", file)


def test_an_alert_that_is_false_in_the_list_stays() -> None:
    """A values file on top of another switches it on again."""
    assert groups(f"{RULE}.disabled.{NAMES[0]}=false") == groups()


def test_a_misspelt_alert_is_refused_by_name() -> None:
    switches = ("--set", f"{RULE}.enabled=true,{RULE}.disabled.NoSuchAlert=true")
    assert "NoSuchAlert" in try_helm("template", RELEASE, chart.CHART, *VERSION, *switches).stderr


def test_runbooks_may_be_elsewhere() -> None:
    rules = [rule for group in groups(f"{RULE}.runbookUrlBase=https://books.example/cas/") for rule in group["rules"]]
    assert [rule["annotations"]["runbook_url"] for rule in rules] == [
        f"https://books.example/cas/{name}.md" for name in NAMES
    ]


def test_prometheus_selects_the_rules_by_labels() -> None:
    rule = kind(rendered(f"{RULE}.enabled=true", f"{RULE}.labels.release=prometheus"), "PrometheusRule")[0]
    assert rule["metadata"]["labels"]["release"] == "prometheus"


DASHBOARD = "metrics.grafanaDashboard"


def test_the_dashboards_come_as_config_maps_that_grafana_looks_for() -> None:
    """Word for word, with the label that the sidecar of Grafana's chart knows them by."""
    maps = kind(rendered(f"{DASHBOARD}.enabled=true"), "ConfigMap")
    files = sorted((chart.CHART / "files" / "dashboards").glob("*.json"))
    assert len(maps) == len(files) >= 2
    assert {name: json.loads(text) for each in maps for name, text in each["data"].items()} == {
        file.name: json.loads(file.read_text()) for file in files
    }
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in maps} == {"1"}
    assert {each["metadata"]["namespace"] for each in maps} == {NAMESPACE}
    assert kind(rendered(), "ConfigMap") == []


def test_grafana_may_look_elsewhere_and_for_other_labels() -> None:
    settings = ["namespace=monitoring", "label=board", "labelValue=yes", "annotations.folder=Kafka"]
    for each in kind(rendered(f"{DASHBOARD}.enabled=true", *(f"{DASHBOARD}.{each}" for each in settings)), "ConfigMap"):
        assert each["metadata"]["namespace"] == "monitoring"
        assert each["metadata"]["labels"]["board"] == "yes"
        assert "grafana_dashboard" not in each["metadata"]["labels"]
        assert each["metadata"]["annotations"]["folder"] == "Kafka"
