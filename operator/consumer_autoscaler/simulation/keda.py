"""KEDA 2.21 with the HPA of Kubernetes 1.36, rule by rule, as what a group is compared with.

Read from their sources: kedacore/keda `pkg/scalers/kafka_scaler.go` (the metric), `pkg/scaling/executor` (zero and
idle), kubernetes `pkg/controller/podautoscaler/horizontal.go` and `replica_calculator.go` (the rest). Two loops with
their own phases: KEDA's poll, which moves between zero and one only, and the HPA's sync, which asks for the metric
live. Errors of readings do not happen in the model, so `fallback` is not modelled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from consumer_autoscaler.decision.values import PartitionReading
from consumer_autoscaler.simulation.group import Group

HPA_SYNC_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """One policy of an HPA `behavior`: at most `value` pods or percent in `period_seconds`."""

    kind: str  # "Pods" or "Percent"
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """`spec.behavior` of an HPA as the API server completes it when any of it is given."""

    up: tuple[ScalingPolicy, ...] = (ScalingPolicy("Pods", 4, 15), ScalingPolicy("Percent", 100, 15))
    down: tuple[ScalingPolicy, ...] = (ScalingPolicy("Percent", 100, 15),)
    up_select: str = "Max"  # Max, Min or Disabled
    down_select: str = "Max"
    up_window_seconds: int = 0
    down_window_seconds: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaSettings:
    """The knobs of a ScaledObject and its Kafka trigger that matter here, by their names, with their defaults."""

    lag_threshold: float = 10
    activation_lag_threshold: float = 0
    offset_reset_policy: str = "latest"
    scale_to_zero_on_invalid_offset: bool = False
    allow_idle_consumers: bool = False
    limit_to_partitions_with_lag: bool = False
    ensure_even_distribution_of_partitions: bool = False
    exclude_persistent_lag: bool = False
    partition_limitation: tuple[int, ...] | None = None
    min_replica_count: int = 0
    max_replica_count: int = 100
    idle_replica_count: int | None = None
    polling_interval: float = 30
    cooldown_period: float = 300
    initial_cooldown_period: float = 0
    use_cached_metrics: bool = False
    metric_type: str = "AverageValue"  # or Value
    behavior: Behavior | None = None
    tolerance_up: float = 0.1
    tolerance_down: float = 0.1


class KafkaTrigger:
    """The metric of `kafka_scaler.go`. It remembers the offsets of its last call, whoever called (D3 of our notes)."""

    def __init__(self, settings: KedaSettings) -> None:
        self._settings = settings
        self._previous: dict[tuple[str, int], int] = {}

    def lag(self, partitions: Sequence[PartitionReading]) -> tuple[float, float]:
        """(metric, lag for the activation). The cap is by integer division, so lag just above P * T is not capped."""
        s = self._settings
        only = s.partition_limitation
        counted = [p for p in partitions if only is None or p.partition in only]
        total = active = lagging = 0
        for partition in counted:
            lag, full = self._of_partition(partition)
            total += lag
            active += full
            lagging += lag > 0
        metric = float(total)
        if not s.allow_idle_consumers or s.limit_to_partitions_with_lag or s.ensure_even_distribution_of_partitions:
            most = len(counted)
            if s.ensure_even_distribution_of_partitions:
                divisors = (d for d in range(1, most + 1) if most % d == 0 and d * s.lag_threshold >= total)
                metric = next(divisors, most) * s.lag_threshold
            if s.limit_to_partitions_with_lag:
                most = lagging
            if int(metric / s.lag_threshold) > most:
                metric = most * s.lag_threshold
        return max(0.0, metric), float(active)

    def _of_partition(self, partition: PartitionReading) -> tuple[int, int]:
        s, committed = self._settings, partition.committed_offset
        if committed is None:
            if s.scale_to_zero_on_invalid_offset:
                return 0, 0
            # 2.21 counts from the start of the log; before that it counted from zero.
            lag = 1 if s.offset_reset_policy == "latest" else partition.end_offset - (partition.start_offset or 0)
            return lag, lag
        lag = partition.end_offset - committed
        if not s.exclude_persistent_lag:
            return lag, lag
        key = (partition.topic, partition.partition)
        if self._previous.get(key) == committed:
            return 0, lag
        self._previous[key] = committed
        return lag, lag


@dataclass
class KedaLoop:
    """What KEDA itself does each polling interval: from zero (or idle) and back."""

    settings: KedaSettings
    created: float = 0.0
    last_active: float | None = None

    def poll(self, now: float, replicas: int, activity_lag: float) -> int:
        s = self.settings
        if activity_lag > s.activation_lag_threshold:
            self.last_active = now
            below = s.idle_replica_count is not None and replicas < s.min_replica_count
            return max(1, s.min_replica_count) if replicas == 0 or below else replicas
        idle, low = s.idle_replica_count, s.min_replica_count
        if (idle is not None and replicas > idle) or (low == 0 and replicas > 0):
            since = self.created + s.initial_cooldown_period
            if self.last_active is not None:
                since = self.last_active + s.cooldown_period
            return (idle or 0) if now > since else replicas
        return low if idle is None and replicas < low else replicas


@dataclass
class Hpa:
    """One sync of the HPA with one External metric."""

    settings: KedaSettings
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now: float, replicas: int, ready: int, metric: float) -> int:
        """The count after this sync. `replicas` is spec and status alike; `ready` matters for metricType Value."""
        s = self.settings
        low, high = max(1, s.min_replica_count), s.max_replica_count
        if not self._recommended:
            self._recommended.append((now, replicas))
        if replicas == 0:
            return 0  # disabled: zero is KEDA's business
        if not low <= replicas <= high:
            return min(max(replicas, low), high)
        raw = self._raw(replicas, ready, metric)
        behavior = s.behavior
        down_window = 300 if behavior is None else behavior.down_window_seconds
        up_window = 0 if behavior is None else behavior.up_window_seconds
        highest = max([raw, *(r for at, r in self._recommended if at >= now - down_window)])
        lowest = min([raw, *(r for at, r in self._recommended if at > now - up_window)])
        keep = max(down_window, up_window)
        self._recommended = [(at, r) for at, r in self._recommended if at >= now - keep] + [(now, raw)]
        if behavior is None:  # as KEDA leaves it: one limit on ups, no memory
            return min(max(highest, low), high, max(2 * replicas, 4))
        wanted = min(max(replicas, lowest), highest)
        if wanted > replicas:
            wanted = min(wanted, high, self._limit(now, replicas, behavior.up, behavior.up_select, 1))
        elif wanted < replicas:
            wanted = max(wanted, low, self._limit(now, replicas, behavior.down, behavior.down_select, -1))
        if wanted != replicas:
            self._changes.append((now, wanted - replicas))
        return wanted

    def _raw(self, replicas: int, ready: int, metric: float) -> int:
        s = self.settings
        if s.metric_type == "Value":
            ratio = metric / s.lag_threshold
            return replicas if self._tolerated(ratio) else math.ceil(ratio * ready)
        ratio = metric / (s.lag_threshold * replicas)
        return replicas if self._tolerated(ratio) else math.ceil(metric / s.lag_threshold)

    def _tolerated(self, ratio: float) -> bool:
        return 1 - self.settings.tolerance_down <= ratio <= 1 + self.settings.tolerance_up

    def _limit(self, now: float, replicas: int, policies: Sequence[ScalingPolicy], select: str, sign: int) -> int:
        """The furthest count that the policies allow, reckoned from the count at the start of their periods."""
        if select == "Disabled":
            return replicas
        reached = []
        for policy in policies:  # real syncs are a little over 15 s apart
            start = replicas - sum(change for at, change in self._changes if at > now - policy.period_seconds + 1e-3)
            if policy.kind == "Pods":
                reached.append(start + sign * policy.value)
            elif sign > 0:
                reached.append(math.ceil(start * (1 + policy.value / 100)))
            else:
                reached.append(int(start * (1 - policy.value / 100)))
        furthest = max if (sign > 0) == (select == "Max") else min
        limit = furthest(reached)
        return max(limit, replicas) if sign > 0 else min(limit, replicas)


class Keda:
    """Both loops against the modelled group; `poll_phase` and `sync_phase` are when each looks first."""

    def __init__(self, settings: KedaSettings, *, poll_phase: float, sync_phase: float) -> None:
        self._settings = settings
        self._trigger, self._hpa = KafkaTrigger(settings), Hpa(settings)
        self._loop = KedaLoop(settings, created=poll_phase)
        self._next_poll, self._next_sync = poll_phase, sync_phase
        self._cached: float | None = None

    @property
    def next_look(self) -> float:
        return min(self._next_poll, self._next_sync)

    def look(self, group: Group) -> int | None:
        now, replicas = self.next_look, group.replicas
        metric, activity = self._trigger.lag(group.observe().partitions)
        if self._next_poll <= now:
            self._next_poll += self._settings.polling_interval
            self._cached = metric
            replicas = self._loop.poll(now, replicas, activity)
        else:
            self._next_sync += HPA_SYNC_SECONDS
            seen = self._cached if self._settings.use_cached_metrics and self._cached is not None else metric
            replicas = self._hpa.sync(now, replicas, group.observe_scale().ready, seen)
        return replicas if replicas != group.replicas else None
