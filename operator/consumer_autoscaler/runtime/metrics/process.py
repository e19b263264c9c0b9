"""The series of the operator's process: what it is, how it is, and what it asks of others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from consumer_autoscaler import __version__
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.durations import Durations
from consumer_autoscaler.runtime.fleet import Fleet
from consumer_autoscaler.runtime.metrics.family import Family, Group, Kind, histogram_samples, pairs, sample
from consumer_autoscaler.runtime.metrics.loop_lag import LoopLag
from consumer_autoscaler.runtime.metrics.meters import Meters
from consumer_autoscaler.sources.kafka.stats import ReadingStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """Where the numbers come from. `health` is 0 for well, 1 for not ready yet, 2 for what /healthz calls sick."""

    fleet: Fleet
    kube: Kube
    readings: Callable[[], ReadingStats]
    leader: Callable[[], bool]
    health: Callable[[], int]
    listed_at: Callable[[], float | None]
    source_seconds: Mapping[str, Mapping[str, Durations]]  # by source, and by how its requests ended
    meters: Meters
    loop_lag: LoopLag


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFamily(Family):
    """`lines` gives its samples as they are shown."""

    lines: Callable[[ProcessFamily, Process], Iterator[str]]


def _one(value: Callable[[Process], float | None]) -> Callable[[ProcessFamily, Process], Iterator[str]]:
    def lines(family: ProcessFamily, process: Process) -> Iterator[str]:
        number = value(process)
        if number is not None:
            yield sample(family.full_name, "", number)

    return lines


def _build(family: ProcessFamily, _: Process) -> Iterator[str]:
    yield sample(family.full_name, pairs(family.labels, (__version__,)), 1)


def _managed(family: ProcessFamily, process: Process) -> Iterator[str]:
    if process.leader():
        for namespace, number in sorted(Counter(namespace for namespace, _ in process.fleet.names()).items()):
            yield sample(family.full_name, pairs(family.labels, (namespace,)), number)


def _cycles(family: ProcessFamily, process: Process) -> Iterator[str]:
    yield sample(family.full_name, pairs(family.labels, ("success",)), process.meters.cycles)
    yield sample(family.full_name, pairs(family.labels, ("error",)), process.meters.failed_cycles)


def _cycle_seconds(family: ProcessFamily, process: Process) -> Iterator[str]:
    yield from histogram_samples(family.full_name, "", process.meters.cycle_seconds)


def _readings(family: ProcessFamily, process: Process) -> Iterator[str]:
    """Every result from the start on, so that the first failure counts in a rate."""
    stats = process.readings()
    yield sample(family.full_name, pairs(family.labels, (SourceReason.VALID,)), stats.readings)
    for reason in SourceReason:
        if reason.is_failure:
            yield sample(family.full_name, pairs(family.labels, (reason,)), stats.failures[reason.value])


def _kafka_requests(family: ProcessFamily, process: Process) -> Iterator[str]:
    for kind, number in sorted(process.readings().requests.items()):
        yield sample(family.full_name, pairs(family.labels, (kind,)), number)


def _source_seconds(family: ProcessFamily, process: Process) -> Iterator[str]:
    for source, ended in process.source_seconds.items():
        for result, durations in sorted(ended.items()):
            yield from histogram_samples(family.full_name, pairs(family.labels, (source, result)), durations)


def _kube_requests(family: ProcessFamily, process: Process) -> Iterator[str]:
    for labels, number in sorted(process.kube.requests.items()):
        yield sample(family.full_name, pairs(family.labels, labels), number)


def _kube_seconds(family: ProcessFamily, process: Process) -> Iterator[str]:
    for verb, durations in sorted(process.kube.request_seconds.items()):
        yield from histogram_samples(family.full_name, pairs(family.labels, (verb,)), durations)


PROCESS_FAMILIES = (
    ProcessFamily(
        name="operator_leader",
        help="1 for the process that scales, 0 for a standby.",
        group=Group.OPERATOR,
        lines=_one(lambda p: p.leader()),
    ),
    ProcessFamily(
        name="operator_health_status",
        help="0 well, 1 not ready yet (/readyz), 2 sick (/healthz).",
        group=Group.OPERATOR,
        lines=_one(lambda p: p.health()),
    ),
    ProcessFamily(
        name="build_info",
        help="1, with the version that runs.",
        group=Group.OPERATOR,
        labels=("version",),
        lines=_build,
    ),
    ProcessFamily(
        name="managed_resources",
        help="Resources that the process works on, those with an invalid spec included.",
        group=Group.OPERATOR,
        labels=("namespace",),
        lines=_managed,
    ),
    ProcessFamily(
        name="resources_listed_timestamp_seconds",
        help="When all resources were last listed, beside the watch.",
        group=Group.OPERATOR,
        lines=_one(lambda p: p.listed_at()),
    ),
    ProcessFamily(
        name="reconcile_total",
        kind=Kind.COUNTER,
        help="Cycles of all resources, one for each reading of a group: success or error.",
        group=Group.OPERATOR,
        labels=("result",),
        lines=_cycles,
    ),
    ProcessFamily(
        name="reconcile_time_seconds",
        kind=Kind.HISTOGRAM,
        help="How long a cycle took, from the reading of the group to the end of the report.",
        group=Group.OPERATOR,
        lines=_cycle_seconds,
    ),
    ProcessFamily(
        name="poll_lateness_seconds",
        help="How much later than planned the last shared reading began.",
        group=Group.OPERATOR,
        lines=_one(lambda p: p.readings().last_lateness_seconds),
    ),
    ProcessFamily(
        name="event_loop_lag_seconds",
        help="Longest time in the last minute for which the event loop was held up.",
        group=Group.OPERATOR,
        lines=_one(lambda p: p.loop_lag.longest_seconds),
    ),
    ProcessFamily(
        name="source_readings_total",
        kind=Kind.COUNTER,
        help="Readings of groups, by the reason of `SourceHealthy`: Valid, or why not.",
        group=Group.REQUESTS,
        labels=("result",),
        lines=_readings,
    ),
    ProcessFamily(
        name="kafka_requests_total",
        kind=Kind.COUNTER,
        help="Requests to the brokers, by Kafka's name for them.",
        group=Group.REQUESTS,
        labels=("kind",),
        lines=_kafka_requests,
    ),
    ProcessFamily(
        name="kafka_connections",
        help="Open connections to brokers.",
        group=Group.REQUESTS,
        lines=_one(lambda p: p.readings().connections),
    ),
    ProcessFamily(
        name="source_request_duration_seconds",
        kind=Kind.HISTOGRAM,
        help="How long requests to a source (kafka, pods, prometheus) took, by how they ended: ok, timeout or error.",
        group=Group.REQUESTS,
        labels=("source", "result"),
        lines=_source_seconds,
    ),
    ProcessFamily(
        name="kube_requests_total",
        kind=Kind.COUNTER,
        help="Requests to the API server. The code is the HTTP status, `timeout` or `error`.",
        group=Group.REQUESTS,
        labels=("verb", "resource", "code"),
        lines=_kube_requests,
    ),
    ProcessFamily(
        name="kube_request_duration_seconds",
        kind=Kind.HISTOGRAM,
        help="How long requests to the API server took, watches excepted.",
        group=Group.REQUESTS,
        labels=("verb",),
        lines=_kube_seconds,
    ),
)
