"""What Prometheus is told: a snapshot of all autoscalers, made when it asks.

An own collector rather than a gauge object for each number: nothing is updated on the way, the series of a resource
go with it, and a process that does not hold the Lease shows none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer_autoscaler import __version__
from consumer_autoscaler.cluster.kube import Kube
from consumer_autoscaler.decision.values import Scale
from consumer_autoscaler.runtime.autoscaler import Autoscaler
from consumer_autoscaler.sources.kafka.stats import ReadingStats

PREFIX = "consumer_autoscaler_"
LABELS = ("namespace", "name")
_STATUS_NUMBER = {"True": 1.0, "False": 0.0, "Unknown": -1.0}


@dataclass(frozen=True, slots=True)
class _Family:
    """One series for each resource; a number that is None is not shown."""

    name: str
    help: str
    value: Callable[[Autoscaler], float | None]
    counter: bool = False


def _figure(name: str) -> Callable[[Autoscaler], float | None]:
    return lambda a: None if a.decision is None else getattr(a.decision.figures, name)


def _scale(name: str) -> Callable[[Autoscaler], float | None]:
    def value(a: Autoscaler) -> float | None:
        scale = a.last.observation.scale if a.last is not None else None
        return getattr(scale, name) if isinstance(scale, Scale) else None

    return value


_FAMILIES = (
    _Family("spec_min_replicas", "Fewest replicas by the spec.", lambda a: a.resource.policy.min_replicas),
    _Family("spec_max_replicas", "Most replicas by the spec.", lambda a: a.resource.policy.max_replicas),
    _Family(
        "promise_seconds", "Longest a message shall wait, by the spec.", lambda a: a.resource.policy.max_delay_seconds
    ),
    _Family("status_current_replicas", "Replicas the target is asked to have.", lambda a: a.history.replicas),
    _Family("status_ready_replicas", "Pods of the target that are ready.", _scale("ready")),
    _Family(
        "status_desired_replicas",
        "Replicas by the last decision.",
        lambda a: None if a.decision is None else a.decision.desired,
    ),
    _Family(
        "recommended_replicas",
        "Replicas the load needs, before any limit.",
        lambda a: None if a.decision is None else a.decision.recommended,
    ),
    _Family("partitions", "Partitions the group reads.", _figure("partitions")),
    _Family("lag_records", "Records that are not committed yet, over all partitions.", _figure("lag_messages")),
    _Family("lag_seconds", "How long the oldest of them has waited.", _figure("delay_seconds")),
    _Family("lost_records", "Records removed by retention before the group had read them.", _figure("lost_messages")),
    _Family("pending_records", "Records in new partitions that nobody reads yet.", _figure("pending_messages")),
    _Family("arrival_rate_records_per_second", "Records that arrive, over a minute.", _figure("arrival_per_second")),
    _Family(
        "consume_rate_records_per_second", "Records that are committed, over a minute.", _figure("consumed_per_second")
    ),
    _Family(
        "capacity_per_replica_records_per_second",
        "Records one replica can process, as learned or declared.",
        _figure("capacity_per_replica_per_second"),
    ),
    _Family("last_successful_poll_timestamp_seconds", "When the group was last read well.", lambda a: a.read_at),
    _Family(
        "promise_broken_seconds_total",
        "Time in which a message had waited longer than promised.",
        lambda a: a.counts.late_seconds,
        counter=True,
    ),
    _Family("source_errors_total", "Readings that failed.", lambda a: a.counts.source_failures, counter=True),
    _Family("scale_errors_total", "Scale writes that failed.", lambda a: a.counts.scale_failures, counter=True),
    _Family("reconcile_errors_total", "Cycles that failed.", lambda a: a.counts.failures, counter=True),
)


class Snapshot(Collector):
    """All series of the operator. `autoscalers` gives those that this process works on now."""

    def __init__(
        self,
        autoscalers: Callable[[], Iterable[Autoscaler]],
        kube: Kube,
        readings: Callable[[], ReadingStats],
        leader: Callable[[], bool],
    ) -> None:
        self._autoscalers = autoscalers
        self._kube = kube
        self._readings = readings
        self._leader = leader

    def collect(self) -> Iterator[Metric]:
        leader = self._leader()
        yield from self._operator(leader)
        if leader:
            yield from _resources(list(self._autoscalers()))

    def _operator(self, leader: bool) -> Iterator[Metric]:
        yield GaugeMetricFamily(PREFIX + "operator_leader", "1 for the process that scales.", value=float(leader))
        build = GaugeMetricFamily(PREFIX + "build_info", "The version that runs.", labels=("version",))
        build.add_metric((__version__,), 1.0)
        yield build
        kube = CounterMetricFamily(
            PREFIX + "kube_requests", "Requests to the API server.", labels=("verb", "resource", "code")
        )
        for labels, count in list(self._kube.requests.items()):
            kube.add_metric(labels, count)
        yield kube
        stats = self._readings()
        kafka = CounterMetricFamily(PREFIX + "kafka_requests", "Requests to the brokers, by kind.", labels=("kind",))
        for kind, count in list(stats.requests.items()):
            kafka.add_metric((kind,), count)
        yield kafka
        yield GaugeMetricFamily(
            PREFIX + "kafka_connections", "Open connections to brokers.", value=float(stats.connections)
        )
        yield GaugeMetricFamily(
            PREFIX + "poll_lateness_seconds",
            "How much later than planned the last shared reading began.",
            value=stats.last_lateness_seconds,
        )


def _resources(autoscalers: list[Autoscaler]) -> Iterator[Metric]:
    names = [(a.resource.namespace, a.resource.name) for a in autoscalers]
    info = GaugeMetricFamily(
        PREFIX + "info", "What a resource scales, by which group.", labels=(*LABELS, "target_kind", "target", "group")
    )
    scaled = CounterMetricFamily(PREFIX + "scale", "Scale writes that were accepted.", labels=(*LABELS, "direction"))
    conditions = GaugeMetricFamily(
        PREFIX + "status_condition", "1 True, 0 False, -1 Unknown.", labels=(*LABELS, "condition")
    )
    for labels, a in zip(names, autoscalers, strict=True):
        info.add_metric((*labels, a.key.kind, a.key.name, a.resource.kafka.consumer_group), 1.0)
        scaled.add_metric((*labels, "up"), a.counts.ups)
        scaled.add_metric((*labels, "down"), a.counts.downs)
        for condition in a.conditions:
            conditions.add_metric((*labels, condition["type"]), _STATUS_NUMBER[condition["status"]])
    yield from (info, scaled, conditions)
    for family in _FAMILIES:
        kind = CounterMetricFamily if family.counter else GaugeMetricFamily
        metric = kind(PREFIX + family.name.removesuffix("_total"), family.help, labels=LABELS)
        for labels, a in zip(names, autoscalers, strict=True):
            value = family.value(a)
            if value is not None:
                metric.add_metric(labels, float(value))
        yield metric


def registry_with(snapshot: Snapshot) -> CollectorRegistry:
    """A registry of its own, with the process's own figures beside the snapshot."""
    registry = CollectorRegistry()
    for collector in (snapshot, ProcessCollector(registry=None), PlatformCollector(registry=None)):
        registry.register(collector)
    GCCollector(registry=registry)
    return registry
