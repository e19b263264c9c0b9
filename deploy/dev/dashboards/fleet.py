"""All resources at a glance, the sources they are read from, and the operator itself."""

from __future__ import annotations

from dashboards import process
from dashboards.layout import dashboard, link, variable
from dashboards.model import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Json,
    Panel,
    Query,
    in_words,
    lines,
    override,
    stat,
    table,
)

UID = "consumer-autoscaler-fleet"
RESOURCE_UID = "consumer-autoscaler-resource"
P = "consumer_autoscaler_"
IN = 'namespace=~"$namespace"'  # of a resource
BY = "max by (namespace, name)"

SOME_ARE_BAD = ((None, GREEN), (1, ORANGE))
YES_IS_GOOD = {1: ("yes", GREEN), 0: ("no", RED), -1: ("unknown", GREY)}
YES_IS_BAD = {1: ("yes", ORANGE), 0: ("no", GREEN), -1: ("unknown", GREY)}
YES_IS_NEUTRAL = {1: ("yes", BLUE), 0: ("no", GREY), -1: ("unknown", GREY)}


def board() -> Json:
    """The dashboard."""
    to_resource = f"/d/{RESOURCE_UID}?var-datasource=${{datasource}}"
    return dashboard(
        uid=UID,
        title="consumer-autoscaler / Fleet",
        description="All ConsumerAutoscalers, the Kafka clusters they are read from, and the operator itself.",
        variables=[
            variable("namespace", "Namespace", f"label_values({P}info, namespace)", several=True),
            variable("job", "Operator", f"label_values({P}build_info, job)", several=True),
        ],
        rows={
            "At a glance": _glance(),
            "Resources": [_resources(to_resource), *_loads()],
            "Kafka": process.kafka(),
            "Operator": process.operator(),
        },
        links=[link("One resource", to_resource)],
    )


def _glance() -> list[Panel]:
    def count(what: str) -> Query:
        return Query(f"count({what}) or vector(0)")

    return [
        stat(
            "Resources",
            "ConsumerAutoscalers that the operator works on.",
            Query(f"sum({P}managed_resources{{{IN}}}) or vector(0)"),
            steps=((None, BLUE),),
        ),
        stat(
            "Not ready",
            "Ready is False: wrong spec, no target, a conflict, a defect. These are not scaled.",
            count(f'{BY} ({P}status_condition{{condition="Ready",{IN}}}) == 0'),
            steps=SOME_ARE_BAD,
        ),
        stat(
            "Promise broken now",
            "Their oldest message waits for longer than maxDelaySeconds.",
            count(f"{BY} ({P}lag_seconds{{{IN}}}) > {BY} ({P}promise_seconds{{{IN}}})"),
            steps=((None, GREEN), (1, RED)),
        ),
        stat(
            "Behind",
            "Backpressured is True: the group has more to do than it does.",
            count(f'{BY} ({P}status_condition{{condition="Backpressured",{IN}}}) == 1'),
            steps=SOME_ARE_BAD,
        ),
        stat(
            "Paused",
            "By mode or by an annotation: nothing is decided.",
            count(f"{BY} ({P}paused{{{IN}}})"),
            steps=((None, GREEN), (1, BLUE)),
        ),
        stat(
            "Alerts firing",
            "Those that the chart brings, where Prometheus has its rules.",
            count('ALERTS{alertname=~"ConsumerAutoscaler.*",alertstate="firing"}'),
            steps=((None, GREEN), (1, RED)),
        ),
    ]


def _resources(to_resource: str) -> Panel:
    def now(series: str, more: str = "") -> Query:
        return Query(f"{BY} ({P}{series}{{{more}{IN}}})", instant=True)

    row = "var-namespace=${__data.fields.Namespace}&var-name=${__data.fields.Name}"
    to_one = f"{to_resource}&${{__url_time_range}}&{row}"
    return table(
        "All resources",
        "A name leads to its own dashboard. Limited: a limit keeps the count from what the load needs.",
        {
            "Ready": now("status_condition", 'condition="Ready",'),
            "Behind": now("status_condition", 'condition="Backpressured",'),
            "Limited": now("status_condition", 'condition="ScalingLimited",'),
            "Replicas": now("status_current_replicas"),
            "Desired": now("status_desired_replicas"),
            "Max": now("spec_max_replicas"),
            "Lag": now("lag_records"),
            "Oldest": now("lag_seconds"),
            "Promise": now("promise_seconds"),
            "Errors in 1 h": Query(
                f"sum by (namespace, name) (increase({P}source_errors_total{{{IN}}}[1h]))", instant=True
            ),
        },
        renamed={"namespace": "Namespace", "name": "Name"},
        overrides=[
            in_words("Ready", YES_IS_GOOD),
            in_words("Behind", YES_IS_BAD),
            in_words("Limited", YES_IS_NEUTRAL),
            override("Oldest", ("unit", "s"), ("decimals", 0)),
            override("Promise", ("unit", "s")),
            override("Lag", ("unit", "short")),
            override("Errors in 1 h", ("decimals", 0)),
            override("Name", ("links", [{"title": "Show it alone", "url": to_one}])),
        ],
    )


def _loads() -> list[Panel]:
    name = "{{namespace}}/{{name}}"
    return [
        lines(
            "Oldest message, as a part of the promise",
            "The ten nearest to theirs. Above 100 % it is broken.",
            Query(f"topk(10, {BY} ({P}lag_seconds{{{IN}}}) / {BY} ({P}promise_seconds{{{IN}}}))", name),
            unit="percentunit",
            steps=((None, GREEN), (1, RED)),
        ),
        lines(
            "Lag", "The ten largest, in records.", Query(f"topk(10, {BY} ({P}lag_records{{{IN}}}))", name), unit="short"
        ),
        lines(
            "Time above the promise",
            "The part of the last hour with a message that had waited too long: the ten worst.",
            Query(f"topk(10, sum by (namespace, name) (rate({P}promise_broken_seconds_total{{{IN}}}[1h])))", name),
            unit="percentunit",
        ),
        lines(
            "Why groups are behind",
            "Resources for each reason of Backpressured.",
            Query(f'count by (reason) ({P}status_condition{{condition="Backpressured",{IN}}} == 1)', "{{reason}}"),
            stacked=True,
        ),
        lines(
            "Replicas",
            "Of all targets together.",
            Query(f"sum({BY} ({P}status_current_replicas{{{IN}}}))", "asked for"),
            Query(f"sum({BY} ({P}status_ready_replicas{{{IN}}}))", "ready"),
            Query(f"sum({BY} ({P}recommended_replicas{{{IN}}}))", "needed, before limits"),
            stepped=True,
        ),
        lines(
            "Limits",
            "Resources whose count is not what the load needs, by the limit that acted.",
            Query(f'count by (reason) ({P}status_condition{{condition="ScalingLimited",{IN}}} == 1)', "{{reason}}"),
            stacked=True,
        ),
        lines(
            "Scalings",
            "In ten minutes, of all targets together.",
            Query(f"sum by (direction) (increase({P}scale_total{{{IN}}}[10m]))", "{{direction}}"),
            stacked=True,
        ),
        lines(
            "Scalings that failed",
            "In ten minutes, by the reason of AbleToScale.",
            Query(f"sum by (reason) (increase({P}scale_errors_total{{{IN}}}[10m]))", "{{reason}}"),
            stacked=True,
        ),
    ]
