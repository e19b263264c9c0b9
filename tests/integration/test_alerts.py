"""The alert rules: Prometheus takes them, each fires when it shall and only then, and each has a page that helps."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.promql_names import unknown

from bed.chart import CHART
from bed.parts import program
from bed.paths import REPOSITORY
from consumer_autoscaler.cli import FOR_PEOPLE

pytestmark = pytest.mark.integration

ALERTS = CHART / "files" / "alerts.yaml"
CASES = sorted((REPOSITORY / "tests" / "rules").glob("*.yaml"))
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation")

RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expectations() -> list[dict[str, Any]]:
    return [
        expected
        for case in CASES
        for test in yaml.safe_load(case.read_text())["tests"]
        for expected in test["alert_rule_test"]
    ]


def test_prometheus_takes_the_rules() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_shall_and_only_then(case: Path) -> None:
    """With the words that a person gets: numbers and names are in their places."""
    promtool("test", "rules", case)


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(name: str) -> None:
    fires = {bool(expected["exp_alerts"]) for expected in expectations() if expected["alertname"] == name}
    assert fires == {True, False}


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_each_alert_asks_for_series_that_the_operator_has(rule: dict[str, Any]) -> None:
    assert unknown(rule["expr"]) == []


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_each_alert_says_how_bad_it_is_and_where_help_is(rule: dict[str, Any]) -> None:
    """A page with the four parts that such pages have, and with commands."""
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page = RUNBOOKS / Path(rule["annotations"]["runbook_url"]).name
    assert page.stem == rule["alert"]
    text = page.read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(SECTIONS)
    assert "```" in text


def test_every_runbook_is_that_of_an_alert() -> None:
    assert sorted(page.stem for page in RUNBOOKS.glob("*.md")) == sorted(NAMES)


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_shows_commands_and_series_that_there_are(page: Path) -> None:
    """The program takes the options as they are shown; wrong ones would end with SystemExit."""
    text = page.read_text()
    assert unknown(text) == []
    commands = {command.NAME: command for command in FOR_PEOPLE}
    for name, options in re.findall(r"^(?:kubectl )?consumer-autoscaler (\w+) (.*)$", text, re.MULTILINE):
        parser = argparse.ArgumentParser()
        commands[name].add_arguments(parser)
        parser.parse_args(shlex.split(options))
