"""The series of one resource: at most 25, and one more for each alert of its spec and each kind of failure it has had.

What is not known has no series: a number that is missing is not zero. Two of the status' conditions have none either,
because other series say the same: `PromiseKept` (`lag_seconds` beside `promise_seconds`, and
`promise_broken_seconds_total`) and `AlertFiring` (`alert_firing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

from consumer_autoscaler.decision.pauses import why_paused
from consumer_autoscaler.decision.reasons import ConditionType
from consumer_autoscaler.decision.values import ProcessingTime, Scale
from consumer_autoscaler.runtime.autoscaler import Autoscaler
from consumer_autoscaler.runtime.metrics.family import Family, Group, Kind, escaped

Samples = Iterable[tuple[str, float]]

CONDITIONS = frozenset(
    {
        ConditionType.READY.value,
        ConditionType.SOURCE_HEALTHY.value,
        ConditionType.ABLE_TO_SCALE.value,
        ConditionType.SCALING_LIMITED.value,
        ConditionType.BACKPRESSURED.value,
    }
)
STATUS_NUMBERS = {"True": 1.0, "False": 0.0, "Unknown": -1.0}


Value = Callable[[Autoscaler], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFamily(Family):
    """Exactly one of `value`, for one series without labels of its own, and `samples`: such labels, ready as text, each
    with its value.
    """

    value: Value | None = None
    samples: Callable[[Autoscaler], Samples] | None = None

    @property
    def all_labels(self) -> tuple[str, ...]:
        return ("namespace", "name", *self.labels)


def labels_of(namespace: str, name: str) -> str:
    """The two labels that every series of a resource has."""
    return f'name="{escaped(name)}",namespace="{escaped(namespace)}"'


def condition_sample(condition: Mapping[str, str]) -> tuple[str, float]:
    labels = f'condition="{condition["type"]}",reason="{condition["reason"]}"'
    return labels, STATUS_NUMBERS[condition["status"]]


def _figure(name: str) -> Value:
    of = attrgetter(name)
    return lambda a: None if a.decision is None else of(a.decision.figures)


def _present(name: str) -> Value:
    """A figure that is mostly zero, and then has no series."""
    of = attrgetter(name)
    return lambda a: None if a.decision is None else of(a.decision.figures) or None


def _ready(a: Autoscaler) -> float | None:
    scale = a.last.observation.scale if a.last is not None else None
    return scale.ready if isinstance(scale, Scale) else None


def _time(a: Autoscaler) -> ProcessingTime | None:
    time = a.last.observation.processing if a.last is not None else None
    return time if isinstance(time, ProcessingTime) else None


def _percentiles(a: Autoscaler) -> Iterator[tuple[str, float]]:
    if (time := _time(a)) is not None:
        for quantile, seconds in (("0.5", time.p50_seconds), ("0.99", time.p99_seconds)):
            if seconds is not None:
                yield f'quantile="{quantile}"', seconds


def _mean(a: Autoscaler) -> float | None:
    time = _time(a)
    return time.seconds_per_record if time is not None and time.p50_seconds is None else None


def _info(a: Autoscaler) -> Samples:
    group, target = escaped(a.resource.kafka.consumer_group), escaped(a.key.name)
    return ((f'group="{group}",target="{target}",target_kind="{a.key.kind}"', 1.0),)


def _conditions(a: Autoscaler) -> Samples:
    return [condition_sample(condition) for condition in a.conditions if condition["type"] in CONDITIONS]


def _by_reason(counts: Mapping[str, int]) -> Samples:
    return [(f'reason="{reason}"', number) for reason, number in list(counts.items())]


RESOURCE_FAMILIES = (
    ResourceFamily(
        name="info",
        help="1, with what a resource scales and by which consumer group.",
        group=Group.IDENTITY,
        labels=("target_kind", "target", "group"),
        samples=_info,
    ),
    ResourceFamily(
        name="spec_min_replicas",
        help="Fewest replicas by the spec.",
        group=Group.IDENTITY,
        value=lambda a: a.resource.policy.min_replicas,
    ),
    ResourceFamily(
        name="spec_max_replicas",
        help="Most replicas by the spec.",
        group=Group.IDENTITY,
        value=lambda a: a.resource.policy.max_replicas,
    ),
    ResourceFamily(
        name="promise_seconds",
        help="Longest that a message shall wait, by the spec. None with `lagPerReplica`.",
        group=Group.IDENTITY,
        value=lambda a: a.resource.policy.max_delay_seconds,
    ),
    ResourceFamily(
        name="partitions",
        help="Partitions that the group reads.",
        group=Group.IDENTITY,
        value=_figure("partitions"),
    ),
    ResourceFamily(
        name="status_current_replicas",
        help="Replicas that the target is asked to have.",
        group=Group.STATE,
        value=lambda a: a.history.replicas,
    ),
    ResourceFamily(
        name="status_ready_replicas",
        help="Pods of the target that are ready.",
        group=Group.STATE,
        value=_ready,
    ),
    ResourceFamily(
        name="status_condition",
        help="A condition of the status: 1 True, 0 False, -1 Unknown. `reason` is the condition's own, so another"
        " reason is another series.",
        group=Group.STATE,
        labels=("condition", "reason"),
        samples=_conditions,
    ),
    ResourceFamily(
        name="paused",
        help="1 while nothing is decided, by `mode` or by an annotation; no series otherwise.",
        group=Group.STATE,
        value=lambda a: None if why_paused(a.resource.policy) is None else 1.0,
    ),
    ResourceFamily(
        name="last_successful_poll_timestamp_seconds",
        help="When the group was last read well.",
        group=Group.STATE,
        value=lambda a: a.read_at,
    ),
    ResourceFamily(
        name="lag_records",
        help="Records that are not committed yet, over all partitions.",
        group=Group.LOAD,
        value=_figure("lag_messages"),
    ),
    ResourceFamily(
        name="lag_seconds",
        help="How long the oldest of them has waited.",
        group=Group.LOAD,
        value=_figure("delay_seconds"),
    ),
    ResourceFamily(
        name="arrival_rate_records_per_second",
        help="Records that arrive, over the last two polls and 20 seconds at least.",
        group=Group.LOAD,
        value=_figure("arrival_per_second"),
    ),
    ResourceFamily(
        name="consume_rate_records_per_second",
        help="Records that are committed, over the same time.",
        group=Group.LOAD,
        value=_figure("consumed_per_second"),
    ),
    ResourceFamily(
        name="capacity_per_replica_records_per_second",
        help="Records that one replica can process, as learned or declared.",
        group=Group.LOAD,
        value=_figure("capacity_per_replica_per_second"),
    ),
    ResourceFamily(
        name="processing_time_seconds",
        help="How long one record takes by the consumers' own metrics, where these have a histogram.",
        group=Group.LOAD,
        labels=("quantile",),
        samples=_percentiles,
    ),
    ResourceFamily(
        name="processing_time_mean_seconds",
        help="The mean of the same, where they have none.",
        group=Group.LOAD,
        value=_mean,
    ),
    ResourceFamily(
        name="pending_records",
        help="Records in new partitions that nobody reads yet; no series while there are none.",
        group=Group.LOAD,
        value=_present("pending_messages"),
    ),
    ResourceFamily(
        name="status_desired_replicas",
        help="Replicas by the last decision, all limits applied.",
        group=Group.DECISION,
        value=lambda a: None if a.decision is None else a.decision.desired,
    ),
    ResourceFamily(
        name="recommended_replicas",
        help="Replicas that the load needs, before any limit.",
        group=Group.DECISION,
        value=lambda a: None if a.decision is None else a.decision.recommended,
    ),
    ResourceFamily(
        name="scale_total",
        kind=Kind.COUNTER,
        help="Scale writes that were accepted.",
        group=Group.DECISION,
        labels=("direction",),
        samples=lambda a: (('direction="up"', a.counts.ups), ('direction="down"', a.counts.downs)),
    ),
    ResourceFamily(
        name="promise_broken_seconds_total",
        kind=Kind.COUNTER,
        help="Time in which a message had waited longer than promised. None with `lagPerReplica`.",
        group=Group.DECISION,
        value=lambda a: None if a.resource.policy.max_delay_seconds is None else a.counts.late_seconds,
    ),
    ResourceFamily(
        name="alert_firing",
        help="1 while an alert of the spec fires, 0 while not; no series before its figure was known.",
        group=Group.TROUBLE,
        labels=("alert",),
        samples=lambda a: [(f'alert="{alert.name}"', float(alert.firing)) for alert in a.history.alerts],
    ),
    ResourceFamily(
        name="source_errors_total",
        kind=Kind.COUNTER,
        help="Readings that failed, by the reason of `SourceHealthy`; a reason has a series once it was met.",
        group=Group.TROUBLE,
        labels=("reason",),
        samples=lambda a: _by_reason(a.counts.source_failures),
    ),
    ResourceFamily(
        name="scale_errors_total",
        kind=Kind.COUNTER,
        help="Scale writes that failed, by the reason of `AbleToScale`; a reason has a series once it was met.",
        group=Group.TROUBLE,
        labels=("reason",),
        samples=lambda a: _by_reason(a.counts.scale_failures),
    ),
    ResourceFamily(
        name="reconcile_errors_total",
        kind=Kind.COUNTER,
        help="Cycles that failed: defects of the operator (`Ready=False/InternalError`); no series before the first.",
        group=Group.TROUBLE,
        value=lambda a: a.counts.failed_cycles or None,
    ),
    ResourceFamily(
        name="lost_records",
        help="Records that retention removed before the group had read them; no series while there are none.",
        group=Group.TROUBLE,
        value=_present("lost_messages"),
    ),
)
