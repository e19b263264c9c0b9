"""Every value of the chart does something, and every value that a template reads is there."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.chart_support import NAMESPACE, RELEASE, VERSION, try_helm

from bed import chart

pytestmark = pytest.mark.integration

TEMPLATES = sorted(path for path in (chart.CHART / "templates").rglob("*") if path.is_file())
VALUES: dict[str, Any] = yaml.safe_load((chart.CHART / "values.yaml").read_text())
ALERTS = yaml.safe_load((chart.CHART / "files" / "alerts.yaml").read_text())
# What must be given where "something else" of the same type would be refused or do nothing.
OTHER: dict[str, Any] = {
    "hostUsers": False,
    "podDisruptionBudget.minAvailable": 1,
    "podDisruptionBudget.maxUnavailable": 2,
    "podDisruptionBudget.unhealthyPodEvictionPolicy": "AlwaysAllow",
    "image.pullPolicy": "Always",
    "logging.level": "DEBUG",
    "logging.format": "json",
    "watchNamespaces": ["shop"],
    "allowedEndpoints": ["kafka.svc:9092"],
    "deniedCidrs": ["10.96.0.0/12"],
    "extraArgs": ["--resync-seconds=60"],
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}}],
    "metrics.prometheusRule.disabled": {ALERTS["groups"][0]["rules"][0]["alert"]: True},
}


def leaves(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        path = (*above, key)
        if isinstance(value, dict) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def switched_on() -> dict[str, Any]:
    """All that is off by default, but for what excludes something else."""
    values: dict[str, Any] = {"replicaCount": 1, "rbac": {"deletionCost": True, "aggregateClusterRoles": True}}
    for path, value in leaves(VALUES):
        if path[-1] == "enabled" and not value and "podMonitor" not in path:
            values = put(values, path, True)
    return values


def something_else(path: str, value: Any) -> Any:
    if path in OTHER:
        return OTHER[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "-other"
    return [{"name": "other"}] if isinstance(value, list) else {"other": "x"}


def put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    inner = changed
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    return changed


def text(folder: Path, values: dict[str, Any]) -> str | None:
    """What is rendered; None when the values are refused."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    done = try_helm("template", RELEASE, chart.CHART, "--namespace", NAMESPACE, *VERSION, "--values", file)
    return done.stdout if done.returncode == 0 else None


@pytest.mark.timeout(300)
def test_every_value_changes_what_is_rendered(tmp_path: Path) -> None:
    """Found by changing one at a time, with all switches on or off: what no template reads would change nothing."""
    values: list[dict[str, Any]] = [{}, switched_on(), {"metrics": {"podMonitor": {"enabled": True}}}]
    bases = [(base, text(tmp_path, base)) for base in values]
    assert None not in [before for _, before in bases]
    idle = []
    for path, value in leaves(VALUES):
        other = something_else(".".join(path), value)
        after = (text(tmp_path, put(base, path, flipped(base, path, other))) for base, _ in bases)
        if not any(new not in (None, old) for new, (_, old) in zip(after, bases, strict=True)):
            idle.append(".".join(path))
    assert idle == []


def flipped(base: dict[str, Any], path: tuple[str, ...], other: Any) -> Any:
    """A switch that the base itself sets is set the other way."""
    given: Any = base
    for key in path:
        given = given.get(key) if isinstance(given, dict) else None
    return not given if isinstance(given, bool) else other


def read_but_missing() -> set[tuple[str, str]]:
    """The values that templates read and values.yaml lacks, each with the template."""
    known = {".".join(path[:depth]) for path, _ in leaves(VALUES) for depth in range(1, len(path) + 1)}
    read = {(file.name, path) for file in TEMPLATES for path in re.findall(r"\.Values\.([\w.]+)", file.read_text())}
    assert len(read) > 30
    return {(name, path) for name, path in read if path not in known}


def test_every_value_that_a_template_reads_is_there() -> None:
    """A misspelt one would be empty for ever."""
    assert read_but_missing() == set()


def test_every_value_is_described() -> None:
    """In the README and in the schema."""
    said = chart.comments((chart.CHART / "values.yaml").read_text())
    described = {".".join(path) for path, _ in leaves(VALUES)} - set(said)
    assert {path for path in described if not any(path.startswith(f"{one}.") for one in chart.OPEN)} == set()


def test_what_the_templates_define_cannot_collide_with_another_chart() -> None:
    """Names are shared by all charts of a release."""
    defined = [name for file in TEMPLATES for name in re.findall(r'define "([^"]+)"', file.read_text())]
    assert len(defined) > 5
    assert [name for name in defined if not name.startswith("consumer-autoscaler.")] == []
