"""The rules of the Flink Kubernetes Operator's autoscaler for a Kafka source, applied to a consumer group.

Read from apache/flink-kubernetes-operator `flink-autoscaler` (ScalingMetricEvaluator, JobVertexScaler,
DelayedScaleDown). Two things are kinder than in Flink: a re-scale costs what it costs here, a pod start and one
rebalance, not a restart of the job; and it looks as often as the others do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from consumer_autoscaler.simulation.group import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class FlinkSettings:
    """`job.autoscaler.*` with its defaults; seconds."""

    metrics_window: float = 900
    stabilization_interval: float = 300
    utilization_target: float = 0.7
    utilization_max: float = 1.0
    utilization_min: float = 0.4
    scale_down_interval: float = 3600
    scale_down_max_factor: float = 0.6
    catch_up_duration: float = 1800
    restart_time: float = 300
    backlog_threshold: float = 300
    observed_lag_threshold: float = 30
    observed_switch: float = 0.15
    observed_min_observations: int = 2
    min_parallelism: int = 1
    max_parallelism: int = 200
    interval: float = 15


QUICK = FlinkSettings(  # the example in Flink's documentation
    stabilization_interval=60, metrics_window=300, utilization_target=0.6, utilization_max=0.8, utilization_min=0.4,
    restart_time=120, catch_up_duration=300,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    consumed: float
    lag: float
    busy: float
    observed_rate: float | None  # consumption while there was a backlog


def align(partitions: int, target: int, most: int) -> int:
    """FLIP-586, mode BALANCED: the next count that divides the partitions or lowers those of the emptiest consumer."""
    for count in range(target, min(partitions, most) + 1):
        if partitions % count == 0 or partitions // count < partitions // target:
            return count
    return target


class Flink:
    """One vertex, the source."""

    def __init__(self, settings: FlinkSettings, *, first_look: float) -> None:
        self._settings = settings
        self.next_look = first_look
        self._samples: list[_Sample] = []
        self._running_since: float | None = None
        self._down_since: float | None = None
        self._down_to = 0

    def look(self, group: Group) -> int | None:
        s, now = self._settings, self.next_look
        self.next_look += s.interval
        reading, scale, busy = group.observe(), group.observe_scale(), group.busiest_share()
        if reading.state.rebalancing or scale.ready != scale.replicas or not reading.members:
            self._running_since, self._samples = None, []
            return None
        if self._running_since is None:
            self._running_since = now
        if now - self._running_since < s.stabilization_interval:
            return None
        consumed = float(sum(p.committed_offset or 0 for p in reading.partitions))
        self._samples.append(
            _Sample(now, consumed, reading.lag_messages, busy, self._observed(now, consumed, reading.lag_messages))
        )
        self._samples = [sample for sample in self._samples if sample.at >= now - s.metrics_window]
        if now - self._running_since < s.stabilization_interval + s.metrics_window or len(self._samples) < 2:
            return None
        wanted = self._wanted(scale.replicas, len(reading.partitions))
        return self._delayed(now, scale.replicas, wanted)

    def _observed(self, now: float, consumed: float, lag: float) -> float | None:
        if not self._samples:
            return None
        last = self._samples[-1]
        rate = (consumed - last.consumed) / (now - last.at)
        return rate if rate > 0 and lag >= self._settings.observed_lag_threshold * rate else None

    def _wanted(self, replicas: int, partitions: int) -> int:
        """The recommendation; `replicas` when within the utilisation band."""
        s, first, last = self._settings, self._samples[0], self._samples[-1]
        span = last.at - first.at
        consumption = (last.consumed - first.consumed) / span
        arrival = max(0.0, consumption + (last.lag - first.lag) / span)
        capacity = self._capacity(consumption)
        if capacity is None:
            return replicas
        catch_up = last.lag / s.catch_up_duration if s.catch_up_duration else 0.0
        restart = arrival * s.restart_time / s.catch_up_duration if s.catch_up_duration else 0.0
        backlog = last.lag > s.backlog_threshold * consumption
        most_used, least_used = (1.0, 0.0) if backlog else (s.utilization_max, s.utilization_min)
        up = capacity < catch_up + arrival / most_used
        down = least_used > 0 and capacity > catch_up + restart + arrival / least_used
        if not up and not down:
            return replicas
        factor = (catch_up + restart + arrival / s.utilization_target) / capacity
        target = math.ceil(max(factor, 1 - s.scale_down_max_factor) * replicas - 1e-9)
        most = min(s.max_parallelism, partitions)
        return align(partitions, min(max(target, s.min_parallelism, 1), most), most)

    def _capacity(self, consumption: float) -> float | None:
        s = self._settings
        mean_busy = sum(sample.busy for sample in self._samples) / len(self._samples)
        busy_rate = consumption / mean_busy if mean_busy > 0 and consumption > 0 else math.inf
        seen = [sample.observed_rate for sample in self._samples if sample.observed_rate is not None]
        observed = sum(seen) / len(seen) if len(seen) >= s.observed_min_observations else None
        if observed is not None and (math.isinf(busy_rate) or busy_rate > (1 + s.observed_switch) * observed):
            return observed
        return busy_rate

    def _delayed(self, now: float, replicas: int, wanted: int) -> int | None:
        """A down waits for an hour without a break and goes to the highest that was recommended in it."""
        if wanted >= replicas:
            self._down_since = None
            return wanted if wanted > replicas else None
        if self._down_since is None:
            self._down_since, self._down_to = now, wanted
        self._down_to = max(self._down_to, wanted)
        if now - self._down_since < self._settings.scale_down_interval:
            return None
        self._down_since = None
        return self._down_to
