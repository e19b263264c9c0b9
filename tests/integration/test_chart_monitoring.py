"""What the chart brings for those who watch: the alerts as a PrometheusRule, the dashboards as ConfigMaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.chart_support import RELEASE, VERSION, kind, rendered, try_helm
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
