"""docs/metrics.md from the operator's metric families: name, type, labels, meaning, and queries to begin with.

`python -m pages.metrics > docs/metrics.md` (`make docs`) renews it; a test compares.
"""

from __future__ import annotations

import sys

from consumer_autoscaler.durations import BOUNDS_SECONDS
from consumer_autoscaler.runtime.metrics.family import PREFIX, Family, Group
from consumer_autoscaler.runtime.metrics.page import FAMILIES
from consumer_autoscaler.runtime.metrics.resource import ResourceFamily

HEAD = """# Metrics

<!-- Generated from the code by `make docs`; edit operator/consumer_autoscaler/runtime/metrics/ instead. -->

What the operator says at `/metrics` (port 8080). All names begin with `{prefix}`, which is left out in the tables. The
chart brings a ServiceMonitor, a PodMonitor and alert rules; names and labels are
[not changed lightly](release-policy.md).

- Every series of a resource has the labels `namespace` and `name` of that resource. Scrape with `honorLabels: true`, or
  Prometheus keeps `namespace` for the operator's own and calls the resource's `exported_namespace`.
- A resource has at most 25 series, and one more for each alert of its spec and each kind of failure that it has had.
- What is not known has no series. A missing number is not zero.
- Only the process that holds the Lease has series of resources. They go with the resource, and with the Lease.
- There are no labels of topics, partitions or members: ask [`lag`](lag-command.md) for these.
- Buckets of histograms: {bounds} seconds.
"""

QUERIES = (
    (
        "The ten that are closest to their promise, or furthest beyond it",
        "topk(10, max by (namespace, name) ({p}lag_seconds) / max by (namespace, name) ({p}promise_seconds))",
    ),
    (
        "Share of the last day in which the promise was broken",
        "sum by (namespace, name) (increase({p}promise_broken_seconds_total[1d])) / 86400",
    ),
    (
        "What the load needs beside what all replicas can do",
        "max by (namespace, name) ({p}arrival_rate_records_per_second) / (max by (namespace, name)"
        " ({p}status_ready_replicas) * max by (namespace, name) ({p}capacity_per_replica_records_per_second))",
    ),
    (
        "Who is behind, and why",
        'max by (namespace, name, reason) ({p}status_condition{{condition="Backpressured"}}) == 1',
    ),
    (
        "Which limit holds a scaling back",
        'max by (namespace, name, reason) ({p}status_condition{{condition="ScalingLimited"}}) == 1',
    ),
    (
        "Not ready, for an alert: without `reason`, so that another reason does not begin anew",
        'max by (namespace, name) ({p}status_condition{{condition="Ready"}}) == 0',
    ),
    ("Alerts of resources that fire", "max by (namespace, name, alert) ({p}alert_firing) == 1"),
    ("Scalings in the last hour", "sum by (namespace, name) (increase({p}scale_total[1h]))"),
    (
        "Seconds since a group was last read well",
        "time() - max by (namespace, name) ({p}last_successful_poll_timestamp_seconds)",
    ),
    (
        "How long 95 of 100 requests to Kafka took",
        "histogram_quantile(0.95, sum by (le) (rate({p}source_request_duration_seconds_bucket[5m])))",
    ),
    (
        "Requests to the API server that failed",
        'sum by (verb, resource, code) (rate({p}kube_requests_total{{code!~"2.."}}[5m]))',
    ),
)

ALERTS_SPARE_THE_REASON = """`status_condition` has the reason of the condition as a label: when the reason changes, one
series ends and another begins. An alert with `for:` should leave it out, as above, or it begins to count anew. Two
conditions have no series of their own: `PromiseKept` is `lag_seconds` against `promise_seconds`, and `AlertFiring` is
`alert_firing`.
"""


def queries() -> list[str]:
    """The example queries as they are shown."""
    return [query.format(p=PREFIX) for _, query in QUERIES]


def render() -> str:
    """The whole page."""
    bounds = ", ".join(f"{bound:g}" for bound in BOUNDS_SECONDS)
    lines = [HEAD.format(prefix=PREFIX, bounds=bounds)]
    for group in Group:
        lines += [f"## {group}", "", "| Name | Type | Labels | |", "|---|---|---|---|"]
        lines += [_row(family) for family in FAMILIES if family.group is group]
        lines.append("")
    lines += [
        "## Of the process",
        "",
        "`process_*`, `python_info` and `python_gc_*`, as every Prometheus client for Python has them.",
        "",
        "## Queries to begin with",
        "",
    ]
    for (title, _), query in zip(QUERIES, queries(), strict=True):
        lines += [f"{title}:", "", "```promql", query, "```", ""]
    return "\n".join([*lines, ALERTS_SPARE_THE_REASON]).rstrip() + "\n"


def _row(family: Family) -> str:
    own = ", ".join(f"`{label}`" for label in family.labels)
    labels = " and ".join(filter(None, ["the resource's" if isinstance(family, ResourceFamily) else "", own]))
    words = family.help.replace("|", "\\|")
    return f"| `{family.name}` | {family.kind} | {labels} | {words} |"


if __name__ == "__main__":
    sys.stdout.write(render())
