"""The values that flow through one cycle: Policy, Observation, Decision, all frozen.

Times are seconds as floats on the injected clock (wall time at start plus monotonic time since, so a step of the
wall clock neither skips nor stretches a cooldown). Rates are records per second, which for Kafka means offsets per
second: the unit of the lag, so gaps left by compaction cancel out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from consumer_autoscaler.decision.reasons import (
    ConditionStatus,
    ConditionType,
    DecisionReason,
    GroupState,
    ScaleReason,
    SourceReason,
)


class OffsetReset(StrEnum):
    """What a partition without a commit means; must equal the consumers' own `auto.offset.reset`."""

    LATEST = "Latest"
    EARLIEST = "Earliest"
    NONE = "None"


class IsolationLevel(StrEnum):
    """What counts as the end of a partition: the high watermark, or (as for the consumers' own `isolation.level`
    read_committed) the last stable offset, before the first open transaction (KIP-98).
    """

    READ_UNCOMMITTED = "ReadUncommitted"
    READ_COMMITTED = "ReadCommitted"


class GroupKind(StrEnum):
    """The kinds of groups a Kafka broker keeps; UNKNOWN is one that no broker knows (yet, or any more).

    CLASSIC: the first protocol, classic Kafka Streams included; CONSUMER: KIP-848; SHARE: KIP-932; STREAMS: KIP-1071.
    """

    UNKNOWN = "unknown"
    CLASSIC = "classic"
    CONSUMER = "consumer"
    SHARE = "share"
    STREAMS = "streams"


class Mode(StrEnum):
    """Active scales; Observe computes and reports; Paused reports what it sees and decides nothing."""

    ACTIVE = "Active"
    OBSERVE = "Observe"
    PAUSED = "Paused"


class ReplicaSteps(StrEnum):
    """Useful: only counts that lower the partitions of the busiest consumer. Any: every count."""

    USEFUL = "Useful"
    ANY = "Any"


class Calmness(StrEnum):
    """What a scaling is worth besides its pause: nothing, a little, or as much as 20 minutes of a replica."""

    RESPONSIVE = "Responsive"
    BALANCED = "Balanced"
    QUIET = "Quiet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What a person wants to be told of. Exactly one of `lag_messages` and `delay_seconds` is set."""

    name: str
    lag_messages: int | None = None
    delay_seconds: int | None = None
    for_seconds: int = 0

    @property
    def threshold(self) -> int:
        return self.lag_messages if self.lag_messages is not None else self.delay_seconds or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the user asked for, as numbers. Exactly one of `max_delay_seconds` and `lag_per_replica` is set."""

    min_replicas: int
    max_replicas: int
    mode: Mode = Mode.ACTIVE
    max_delay_seconds: int | None = None
    lag_per_replica: int | None = None
    expected_records_per_second: float | None = None  # per replica; the prior until something is measured
    offset_reset: OffsetReset = OffsetReset.LATEST
    consumers_per_pod: int = 1
    poll_interval_seconds: int = 15
    replica_steps: ReplicaSteps = ReplicaSteps.USEFUL
    calmness: Calmness = Calmness.BALANCED
    scale_up_cooldown_seconds: int = 0
    scale_up_max_step: int | None = None
    scale_down_cooldown_seconds: int = 0
    scale_down_max_step_percent: int = 100
    activation_lag_messages: int = 0
    idle_seconds: int = 300
    unavailable_after_seconds: int | None = None  # None: only hold while there is no reading
    unavailable_at_least_replicas: int = 0
    paused: bool = False  # this and the next three: what a person paused by annotations
    paused_replicas: int | None = None
    paused_scale_in: bool = False
    paused_scale_out: bool = False
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A reading that failed: why, in one word and one sentence. Never a number."""

    reason: SourceReason | ScaleReason
    message: str


@dataclass(frozen=True, slots=True)
class PartitionReading:
    """Offsets of one partition, as the brokers gave them, and the lag they mean under the declared offset reset.

    `committed_offset` is None when the group never committed there; `lag_messages` is None when what that means is
    not known (`offsetReset: None`), else >= 0. `start_offset` may be None when it was not needed. A share group commits
    nothing; its `committed_offset` is the start offset that its coordinator keeps, and finished records may follow it.
    """

    topic: str
    partition: int
    committed_offset: int | None
    start_offset: int | None
    end_offset: int
    lag_messages: int | None

    @property
    def finished_offset(self) -> int | None:
        """How far the group is: `committed_offset`, and in a share group so much more as is finished beyond it."""
        done, lag = self.committed_offset, self.lag_messages
        if done is None or lag is None or not (self.start_offset or 0) <= done <= self.end_offset:
            return done
        return self.end_offset - lag

    @property
    def lost_messages(self) -> int:
        """Those that retention removed before the group had read them."""
        if self.committed_offset is None or self.start_offset is None:
            return 0
        return max(0, self.start_offset - self.committed_offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReading:
    """One complete reading of a consumer group. A partial one is Unavailable(PartialReading) instead."""

    at: float  # when the end offsets were read
    state: GroupState
    kind: GroupKind = GroupKind.UNKNOWN
    members: int = 0
    idle_members: int = 0  # members of a Stable group that were given no partition (of Streams: no task)
    assignor: str | None = None  # "range", "roundrobin", ...; the last one seen while the group is empty
    partitions: tuple[PartitionReading, ...] = ()  # sorted by topic, partition
    partition_ceiling: int = (
        0  # consumers that can have work (sources/kafka/groups/facts); 0: unknown, or no limit (share)
    )
    older_than_seconds: float | None = None  # the age that was looked up by timestamp, None when none was
    partitions_older: int | None = None  # how many partitions have an unprocessed record older than that
    never_committed: bool = False  # the group has no commit on any of its partitions
    lag_is_upper_bound: bool = False  # some of the lag may be finished already; how old the rest is, is not known
    note: str = ""  # anything odd that a person should know (ignored topics, commits beyond the end)
    pending_messages: int = 0  # in new partitions that no member was given yet; not in the lag
    unscalable: Unavailable | None = None  # why no count can be decided from this lag, right as it is
    warning: SourceReason | None = None  # the gravest thing in the note that is worth an Event

    @property
    def lag_messages(self) -> int:
        """The sum over partitions whose lag is known."""
        return sum(p.lag_messages for p in self.partitions if p.lag_messages is not None)

    @property
    def lost_messages(self) -> int:
        return sum(p.lost_messages for p in self.partitions)

    def ceiling(self, remembered: int) -> int:
        """`partition_ceiling`, or what was `remembered` where it is unknown; 0 for a share group, which has none."""
        return 0 if self.kind is GroupKind.SHARE else self.partition_ceiling or remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingTime:
    """How long one record takes, from the consumers' own metrics, over the last interval.

    `seconds_per_record` is the mean; the percentiles are None where the source has no histogram.
    """

    at: float
    seconds_per_record: float
    records: float  # records the mean is over
    p50_seconds: float | None = None
    p95_seconds: float | None = None
    p99_seconds: float | None = None
    source: str = ""
    instead_of: str = ""  # which sources of more trust failed, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The target as the API server shows it."""

    replicas: int  # spec.replicas, 1 when the API server has none
    ready: int
    uid: str = ""
    rolling: bool = False  # a rollout is under way: surge pods are not capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one cycle saw. A missing part is a value that says why; `processing` is None when none is asked for."""

    at: float
    group: GroupReading | Unavailable
    scale: Scale | Unavailable
    processing: ProcessingTime | Unavailable | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way from the demand to the decision: who acted, the count after it, and why."""

    name: str
    replicas: int
    message: str


@dataclass(frozen=True, slots=True)
class Condition:
    """What the decision says about one condition type."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The numbers behind a decision, for status, metrics and explain. None is unknown."""

    lag_messages: int | None = None
    delay_seconds: float | None = None
    partitions: int | None = None
    partitions_with_lag: int | None = None
    lost_messages: int | None = None
    pending_messages: int | None = None
    partition_ceiling: int | None = None
    arrival_per_second: float | None = None
    consumed_per_second: float | None = None
    capacity_per_replica_per_second: float | None = None
    start_seconds: float | None = None
    rebalance_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do, and the whole way to it.

    `desired` is what the target shall have (equal to the present count on a hold; None when that is unknown).
    `recommended` is the demand before limits, None while nothing can be said.
    """

    at: float
    desired: int | None
    recommended: int | None
    reason: DecisionReason
    message: str
    steps: tuple[Step, ...] = ()
    conditions: tuple[Condition, ...] = ()
    figures: Figures = Figures()
