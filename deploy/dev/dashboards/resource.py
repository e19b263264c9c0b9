"""One resource: how many replicas it has and should have, from what that was decided, and what stands in the way."""

from __future__ import annotations

from dashboards.fleet import RESOURCE_UID, UID
from dashboards.layout import dashboard, link, variable
from dashboards.model import (
    BLUE,
    DATASOURCE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Json,
    Panel,
    Query,
    lines,
    stat,
    states,
    table,
)

P = "consumer_autoscaler_"
ITS = 'namespace="$namespace",name="$name"'
RATE = "$__rate_interval"

TRUE_OR_FALSE = {1: ("True", BLUE), 0: ("False", GREY), -1: ("Unknown", "transparent")}


def its(series: str, more: str = "") -> str:
    """The series of the resource, whichever pod tells it."""
    return f"max({P}{series}{{{more}{ITS}}})"


def board() -> Json:
    """The dashboard."""
    return dashboard(
        uid=RESOURCE_UID,
        title="consumer-autoscaler / Resource",
        description="One ConsumerAutoscaler: its target, its load, what was decided, and why.",
        variables=[
            variable("namespace", "Namespace", f"label_values({P}info, namespace)", several=False),
            variable("name", "Name", f'label_values({P}info{{namespace="$namespace"}}, name)', several=False),
        ],
        rows={
            "Now": _now(),
            "Replicas": _replicas(),
            "Load": _load(),
            "Why": _why(),
            "Trouble": _trouble(),
        },
        annotations=[
            {
                "name": "Scalings",
                "datasource": DATASOURCE,
                "enable": True,
                "iconColor": BLUE,
                "expr": f"sum by (direction) (increase({P}scale_total{{{ITS}}}[1m])) > 0",
                "titleFormat": "scaled {{direction}}",
                "step": "60s",
            }
        ],
        links=[link("Fleet", f"/d/{UID}?var-datasource=${{datasource}}")],
    )


def _now() -> list[Panel]:
    return [
        stat(
            "Ready",
            "The reason of the condition. Not ready means that it is not scaled.",
            Query(f'max by (reason) ({P}status_condition{{condition="Ready",{ITS}}})', "{{reason}}"),
            named=True,
            steps=((None, GREY), (0, RED), (1, GREEN)),
        ),
        stat(
            "Behind?",
            "The reason of Backpressured: what stands in the way, or KeepingUp.",
            Query(f'max by (reason) ({P}status_condition{{condition="Backpressured",{ITS}}})', "{{reason}}"),
            named=True,
            steps=((None, GREY), (0, GREEN), (1, ORANGE)),
        ),
        stat(
            "Oldest message now",
            "How long it has waited.",
            Query(its("lag_seconds")),
            unit="s",
            steps=((None, BLUE),),
        ),
        stat(
            "Of the promise",
            "The oldest message's wait as a part of maxDelaySeconds.",
            Query(f"{its('lag_seconds')} / {its('promise_seconds')}"),
            unit="percentunit",
            steps=((None, GREEN), (0.5, ORANGE), (1, RED)),
        ),
        stat(
            "Lag now",
            "Records that are not committed yet.",
            Query(its("lag_records")),
            unit="short",
            steps=((None, BLUE),),
        ),
        stat(
            "Replicas now",
            "That the target is asked to have.",
            Query(its("status_current_replicas")),
            steps=((None, BLUE),),
        ),
        table(
            "What it scales",
            "The target, and the consumer group that it is scaled by.",
            {"": Query(f"max by (target_kind, target, group) ({P}info{{{ITS}}})", instant=True)},
            renamed={"target_kind": "Kind", "target": "Target", "group": "Consumer group"},
            height=4,
        ),
    ]


def _replicas() -> list[Panel]:
    return [
        lines(
            "Replicas",
            "What the load needs before any limit, what was decided, what the target is asked to have,"
            " and what is ready; dashed: the bounds, and the partitions, beyond which a consumer has nothing to do.",
            Query(its("recommended_replicas"), "needed, before limits"),
            Query(its("status_desired_replicas"), "decided"),
            Query(its("status_current_replicas"), "asked for"),
            Query(its("status_ready_replicas"), "ready"),
            Query(its("spec_min_replicas"), "least"),
            Query(its("spec_max_replicas"), "most"),
            Query(its("partitions"), "partitions"),
            stepped=True,
            dashed=("least", "most", "partitions"),
            width=16,
        ),
        lines(
            "Scalings",
            "Accepted writes in ten minutes.",
            Query(f"sum by (direction) (increase({P}scale_total{{{ITS}}}[10m]))", "{{direction}}"),
            stacked=True,
            width=8,
        ),
    ]


def _load() -> list[Panel]:
    return [
        lines(
            "Oldest message",
            "How long it has waited; dashed: the promise.",
            Query(its("lag_seconds"), "oldest message"),
            Query(its("promise_seconds"), "promise"),
            unit="s",
            dashed=("promise",),
        ),
        lines(
            "Lag",
            "Records that are not committed yet; those in new partitions that nobody reads yet are apart.",
            Query(its("lag_records"), "lag"),
            Query(its("pending_records"), "in new partitions"),
            unit="short",
        ),
        lines(
            "Records in a second",
            "What arrives, what is committed, and what the ready replicas can do by what was learned of one of them.",
            Query(its("arrival_rate_records_per_second"), "arrive"),
            Query(its("consume_rate_records_per_second"), "are committed"),
            Query(f"{its('capacity_per_replica_records_per_second')} * {its('status_ready_replicas')}", "capacity"),
            unit="cps",
            dashed=("capacity",),
        ),
        lines(
            "Processing time",
            "Of one record, by the consumers' own metrics, where processingTime names them:"
            " quantiles where they have a histogram, else the mean.",
            Query(f"max by (quantile) ({P}processing_time_seconds{{{ITS}}})", "quantile {{quantile}}"),
            Query(its("processing_time_mean_seconds"), "mean"),
            unit="s",
        ),
        lines(
            "Capacity of one replica",
            "Records in a second that one can process, as learned or declared.",
            Query(its("capacity_per_replica_records_per_second"), "one replica"),
            unit="cps",
        ),
        lines(
            "Time above the promise",
            "The part of the last hour in which a message had waited too long.",
            Query(f"sum(rate({P}promise_broken_seconds_total{{{ITS}}}[1h]))", "above the promise"),
            unit="percentunit",
        ),
    ]


def _why() -> list[Panel]:
    return [
        states(
            "Conditions and their reasons",
            "Each reason that a condition had, and when. A condition that changes its reason goes on in another line.",
            Query(f"max by (condition, reason) ({P}status_condition{{{ITS}}})", "{{condition}}: {{reason}}"),
            TRUE_OR_FALSE,
            width=24,
            height=10,
        ),
        states(
            "Alerts of the spec",
            "Each of spec.alerts: above its threshold for long enough, or not.",
            Query(f"max by (alert) ({P}alert_firing{{{ITS}}})", "{{alert}}"),
            {1: ("fires", RED), 0: ("quiet", GREEN)},
            width=24,
            height=5,
        ),
    ]


def _trouble() -> list[Panel]:
    return [
        lines(
            "Readings that failed",
            "By the reason of SourceHealthy, in ten minutes. Meanwhile the count is held.",
            Query(f"sum by (reason) (increase({P}source_errors_total{{{ITS}}}[10m]))", "{{reason}}"),
            stacked=True,
            width=8,
        ),
        lines(
            "Age of the last good reading",
            "It stays below a poll interval or two.",
            Query(f"time() - {its('last_successful_poll_timestamp_seconds')}", "last good reading"),
            unit="s",
            width=8,
        ),
        lines(
            "Scale writes and cycles that failed",
            "In ten minutes, by the reason of AbleToScale; cycles are defects of the operator.",
            Query(f"sum by (reason) (increase({P}scale_errors_total{{{ITS}}}[10m]))", "{{reason}}"),
            Query(f"sum(increase({P}reconcile_errors_total{{{ITS}}}[10m]))", "cycles"),
            stacked=True,
            width=8,
        ),
        lines(
            "Records lost",
            "Removed by retention before the group had read them; no line while there are none.",
            Query(its("lost_records"), "lost"),
            unit="short",
            width=8,
        ),
        lines(
            "Paused",
            "1 while nothing is decided, by mode or by an annotation.",
            Query(its("paused"), "paused"),
            stepped=True,
            width=8,
        ),
        lines(
            "Alerts",
            "Of the chart, about this resource; no line while none fires.",
            Query(
                f'max by (alertname, severity) (ALERTS{{alertstate="firing",alertname=~"ConsumerAutoscaler.*",{ITS}}})',
                "{{alertname}} ({{severity}})",
            ),
            stepped=True,
            width=8,
        ),
    ]
