"""`status`: what a row says of a resource, what is unknown, and where there are colours."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from consumer_autoscaler import status_report
from consumer_autoscaler.cli.colours import painted
from consumer_autoscaler.explain import from_status

NOW = 1_800_000_000.0


def body(*conditions: tuple[str, str, str], **status: Any) -> dict[str, Any]:
    written = [{"type": t, "status": s, "reason": r, "message": f"words of {r}"} for t, s, r in conditions]
    return {
        "metadata": {"namespace": "shop", "name": "payments"},
        "spec": {"targetRef": {"name": "payments"}, "maxReplicas": 9, "objective": {"maxDelaySeconds": 60}},
        "status": {"conditions": written, "decision": {"reason": "AtDemand", "message": "enough"}, **status},
    }


def row(one: dict[str, Any], *, wide: bool = False) -> dict[str, str]:
    table = status_report.as_table([one], namespaces=True, wide=wide, now=NOW, paint=lambda text, _: text)
    header, line = table.splitlines()
    begins = [word.start() for word in re.finditer(r"\S+", header)]
    cells = [line[a:b].strip() for a, b in zip(begins, [*begins[1:], None], strict=True)]
    return dict(zip(header.split(), cells, strict=True))


def test_what_is_unknown_is_a_dash_and_no_zero() -> None:
    shown = row({**body(), "status": {}}, wide=True)
    assert {shown[name] for name in ("REPLICAS", "LAG", "DELAY", "READY", "PARTITIONS", "ARRIVAL/MIN", "SCALED")} == {
        "-"
    }
    assert (shown["REASON"], shown["MESSAGE"]) == ("NoStatus", "is the operator running?")


def test_a_row_has_the_numbers() -> None:
    shown = row(body(replicas={"current": 3, "desired": 5}, lag={"messages": 0, "delaySeconds": 12}))
    assert (shown["NAMESPACE"], shown["TARGET"], shown["MODE"]) == ("shop", "deployment/payments", "Active")
    assert (shown["REPLICAS"], shown["LAG"], shown["DELAY"], shown["PROMISE"]) == ("3→5", "0", "12s", "60s")


@pytest.mark.parametrize(
    ("conditions", "word"),
    [
        ((("Ready", "True", "Working"), ("Backpressured", "False", "KeepingUp")), "AtDemand"),
        ((("Ready", "True", "Working"), ("Backpressured", "True", "MaxReplicas")), "MaxReplicas"),
        ((("Ready", "True", "Working"), ("PromiseKept", "False", "DelayAbovePromise")), "DelayAbovePromise"),
        ((("Ready", "True", "Working"), ("AlertFiring", "True", "ThresholdCrossed")), "ThresholdCrossed"),
        ((("Ready", "True", "Working"), ("AlertFiring", "False", "WithinThresholds")), "AtDemand"),
        ((("Ready", "True", "Paused"), ("Backpressured", "True", "MaxReplicas")), "Paused"),
        ((("SourceHealthy", "False", "BrokerUnreachable"), ("Ready", "True", "Paused")), "BrokerUnreachable"),
        ((("SourceHealthy", "False", "BrokerUnreachable"), ("Ready", "False", "Conflicted")), "Conflicted"),
        ((("Ready", "True", "Working"), ("AbleToScale", "False", "Forbidden")), "Forbidden"),
    ],
)
def test_the_gravest_word_is_shown(conditions: tuple[tuple[str, str, str], ...], word: str) -> None:
    assert status_report.story(body(*conditions))[0] == word


def test_alerts_that_fire_are_named() -> None:
    """In the wide table, and on the screen of one resource with the time."""
    late = {"name": "late", "sinceTime": "2027-01-15T07:00:00Z"}
    one = body(("AlertFiring", "True", "ThresholdCrossed"), alerts=[{**late, "name": "far-behind"}, late])
    assert row(one, wide=True)["ALERTS"] == "far-behind,late"
    assert row(body(), wide=True)["ALERTS"] == "-"
    assert "Alerts     far-behind since 2027-01-15T07:00:00Z, late since 2027-01-15T07:00:00Z" in from_status(one)
    assert "Alerts" not in from_status(body())


def test_events_are_in_order_with_their_age_and_count() -> None:
    events = [
        {
            "type": "Normal",
            "reason": "New",
            "message": "b",
            "eventTime": "2027-01-15T07:59:30Z",
            "series": {"count": 4},
        },
        {"type": "Warning", "reason": "Old", "message": "a", "lastTimestamp": "2027-01-15T07:00:00Z", "count": 1},
    ]
    lines = list(status_report.events_of(events, NOW, lambda text, _: text))
    assert [line.split() for line in lines] == [["Events"], ["60m", "Old", "a"], ["30s", "New", "b", "(x4)"]]


@pytest.mark.parametrize(
    ("terminal", "variables", "coloured"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_colours_are_for_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, variables: dict[str, str], coloured: bool
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert painted("Conflicted", "red") == ("\x1b[31mConflicted\x1b[0m" if coloured else "Conflicted")


def test_a_condition_of_an_older_spec_is_not_up_to_date() -> None:
    """Who waits for one must not take what was true of the spec before."""
    one = body(("Ready", "True", "Working"))
    one["metadata"]["generation"] = 2
    one["status"]["conditions"][0]["observedGeneration"] = 1
    assert not status_report.is_up_to_date(one, "Ready")
    one["status"]["conditions"][0]["observedGeneration"] = 2
    assert status_report.is_up_to_date(one, "Ready")
    assert not status_report.is_up_to_date(one, "Paused")
