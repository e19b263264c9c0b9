"""What is asked of a Prometheus about a group's past: the names under which exporters know it, and the queries.

Pure text. Each query gives one series: sums are made by Prometheus, over partitions, after series of one partition that
come from two exporters or two members have been made one by `max`. Offsets of -1 (nothing committed) are left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

DISCOVERY_WINDOW_SECONDS = 600
OWN = "consumer_autoscaler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """The names of one exporter. `committed` is None where it tells the rate of arrivals itself (`arrivals`)."""

    name: str
    lag: str
    committed: str | None
    arrivals: str | None = None
    by: tuple[str, ...] = ("topic", "partition")  # the labels of one series of `lag` and `committed`
    partition_lag: str | None = None  # where `lag` is by topic: what to count partitions by
    group_label: str = "group"
    topic_label: str = "topic"
    partition_label: str = "partition"


EXPORTERS = (
    Exporter(
        name="kafka_exporter (Strimzi's too)",
        lag="kafka_consumergroup_lag",
        committed="kafka_consumergroup_current_offset",
        group_label="consumergroup",
    ),
    Exporter(
        name="kminion",
        lag="kminion_kafka_consumer_group_topic_lag",
        committed="kminion_kafka_consumer_group_topic_offset_sum",
        by=("topic_name",),
        partition_lag="kminion_kafka_consumer_group_topic_partition_lag",
        group_label="group_id",
        topic_label="topic_name",
        partition_label="partition_id",
    ),
    Exporter(
        name="kafka-lag-exporter",
        lag="kafka_consumergroup_group_lag",
        committed="kafka_consumergroup_group_offset",
    ),
    Exporter(
        name="OpenTelemetry's kafkametrics receiver",
        lag="kafka_consumer_group_lag",
        committed="kafka_consumer_group_offset",
    ),
    Exporter(
        name="consumer-autoscaler",
        lag=f"{OWN}_lag_records",
        committed=None,
        arrivals=f"{OWN}_arrival_rate_records_per_second",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Whose past, and for how long. Times in seconds since 1970. Queries of the user's own replace what is known."""

    group: str
    start: float
    end: float
    topics: tuple[str, ...] = ()
    namespace: str | None = None
    target: str | None = None  # of the Deployment or StatefulSet; None: called like the group
    arrivals_query: str | None = None
    replicas_query: str | None = None
    step_seconds: float | None = None  # None: by how often is scraped


@dataclass(frozen=True, slots=True)
class Queries:
    """One exporter's, for one group. `committed` or `arrivals` is there. `behind` counts the partitions whose lag is at
    least a quarter of the mean: all of them while the whole group is behind, few while only some partitions are.
    """

    lag: str
    partitions: str
    committed: str | None
    arrivals: str | None
    behind: str | None = None


def discovery(exporter: Exporter, wanted: Wanted) -> str:
    """How many samples a series of this group has in ten minutes; no answer where the exporter is not in use."""
    window = f"[{DISCOVERY_WINDOW_SECONDS}s]"
    if exporter.committed is None:
        return f"max(count_over_time({OWN}_info{{{_own_matchers(wanted)}}}{window}))"
    return f"max(count_over_time({exporter.lag}{{{_matchers(exporter, wanted)}}}{window}))"


def queries(exporter: Exporter, wanted: Wanted) -> Queries:
    if exporter.committed is None:
        return Queries(
            lag=_own(exporter.lag, wanted),
            partitions=_own(f"{OWN}_partitions", wanted),
            committed=None,
            arrivals=wanted.arrivals_query or _own(f"{OWN}_arrival_rate_records_per_second", wanted),
        )
    by = ", ".join(exporter.by)
    matchers = _matchers(exporter, wanted)
    counted = exporter.partition_lag or exporter.lag
    partition_by = f"{exporter.topic_label}, {exporter.partition_label}"
    each = f"max by ({partition_by}) ({counted}{{{matchers}}} >= 0)"
    return Queries(
        lag=f"sum(max by ({by}) ({exporter.lag}{{{matchers}}} >= 0))",
        partitions=f"count({each})",
        behind=f"count({each} >= scalar(avg({each})) / 4)",
        committed=None
        if wanted.arrivals_query
        else f"sum(max by ({by}) ({exporter.committed}{{{matchers}}} >= 0))",
        arrivals=wanted.arrivals_query,
    )  # fmt: skip


def replicas(wanted: Wanted) -> Sequence[tuple[str, str]]:
    """(what is asked, query), in the order in which they are tried."""
    if wanted.replicas_query:
        return [("--replicas-query", wanted.replicas_query)]
    target = _text(wanted.target or wanted.group)
    return [
        (f"{OWN}_status_current_replicas", _own(f"{OWN}_status_current_replicas", wanted)),
        ("kube_deployment_spec_replicas", _of_target("kube_deployment_spec_replicas", "deployment", target, wanted)),
        ("kube_statefulset_replicas", _of_target("kube_statefulset_replicas", "statefulset", target, wanted)),
    ]


def namespaces_with_target(wanted: Wanted) -> str:
    """How many namespaces have a Deployment or StatefulSet of this name."""
    target = _text(wanted.target or wanted.group)
    found = f"kube_deployment_spec_replicas{{deployment={target}}} or kube_statefulset_replicas{{statefulset={target}}}"
    return f"count(count by (namespace, exported_namespace) ({found}))"


def _of_target(metric: str, label: str, target: str, wanted: Wanted) -> str:
    if wanted.namespace is None:
        return f"max({metric}{{{label}={target}}})"
    # Where the scrape does not honour labels, the object's namespace is called exported_namespace.
    namespace = _text(wanted.namespace)
    return (
        f"max({metric}{{{label}={target}, namespace={namespace}}}"
        f" or {metric}{{{label}={target}, exported_namespace={namespace}}})"
    )


def _own(metric: str, wanted: Wanted) -> str:
    return f"max({metric} and on (namespace, exported_namespace, name) {OWN}_info{{{_own_matchers(wanted)}}})"


def _own_matchers(wanted: Wanted) -> str:
    parts = [f"group={_text(wanted.group)}"]
    if wanted.target is not None:
        parts.append(f"target={_text(wanted.target)}")
    return ", ".join(parts)


def _matchers(exporter: Exporter, wanted: Wanted) -> str:
    parts = [f"{exporter.group_label}={_text(wanted.group)}"]
    if len(wanted.topics) == 1:
        parts.append(f"{exporter.topic_label}={_text(wanted.topics[0])}")
    elif wanted.topics:
        # Kafka's names of topics have letters, digits, `_`, `-` and the dot, which alone means something here.
        either = "|".join(topic.replace(".", "[.]") for topic in wanted.topics)
        parts.append(f"{exporter.topic_label}=~{_text(either)}")
    return ", ".join(parts)


def _text(value: str) -> str:
    """A string of PromQL, which has JSON's escapes."""
    return json.dumps(value, ensure_ascii=False)
