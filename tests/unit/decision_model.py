"""A fluid consumer group in a few lines, driven by the real advance() and decide() as the operator drives them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from consumer_autoscaler.decision.advance import advance, after_scaling, resumed
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.decision.values import (
    Decision,
    GroupReading,
    Mode,
    Observation,
    PartitionReading,
    Policy,
    Scale,
    Unavailable,
)

TICK_SECONDS = 0.5


@dataclass
class Group:
    """Equal partitions; on each change everybody stops for the pause; commits come in lumps."""

    policy: Policy
    load: Callable[[float], float]  # records per second at a time since the start
    partitions: int = 20
    per_replica: float = 100.0
    start_seconds: float = 3.0
    pause_seconds: float = 2.0
    commit_seconds: float = 1.0
    replicas: int = 1
    phase_seconds: float = 0.0
    spoil: Callable[[float, Observation], Observation] = lambda _, o: o
    history: History = field(default_factory=History)
    now: float = 0.0
    arrived: float = 0.0
    done: float = 0.0
    committed: float = 0.0
    working: int = 1
    starting: list[tuple[float, int]] = field(default_factory=list)  # (ready at, pods), each up its own batch
    paused_until: float = 0.0
    arrivals: list[tuple[float, float]] = field(default_factory=list)  # (time, arrived)
    ages: list[tuple[float, float]] = field(default_factory=list)  # (records committed, age of the oldest)
    writes: list[tuple[float, int, int]] = field(default_factory=list)  # (time, from, to)
    decisions: list[Decision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.working = self.replicas

    def run(self, seconds: float) -> Group:
        end = self.now + seconds
        poll = self.policy.poll_interval_seconds
        next_poll = math.ceil((self.now - self.phase_seconds) / poll) * poll + self.phase_seconds
        while self.now < end:
            self._tick()
            if self.now >= next_poll:
                next_poll += poll
                self.cycle()
        return self

    def cycle(self) -> None:
        observation = self.spoil(self.now, self._observation())
        self.history = advance(self.policy, self.history, observation, self.now)
        decision = decide(self.policy, observation, self.history, self.now)
        self.decisions.append(decision)
        if decision.desired is not None and decision.desired != self.replicas and self.policy.mode is Mode.ACTIVE:
            self.writes.append((self.now, self.replicas, decision.desired))
            self._scale(decision.desired)
            self.history = after_scaling(self.history, decision.desired, self.now)

    def restart(self) -> None:
        """The operator forgets all but what the status keeps."""
        old = self.history
        self.history = resumed(
            capacity_per_replica=old.capacity_per_replica,
            start_seconds=old.start_seconds if old.start_seconds_seen else None,
            rebalance_seconds=old.rebalance_seconds if old.rebalance_seconds_seen else None,
            changed_at=old.scaled_at,
        )

    def late_share(self, promise_seconds: float) -> float:
        total = sum(records for records, _ in self.ages)
        late = sum(records for records, age in self.ages if age > promise_seconds)
        return late / total if total else 0.0

    def changes(self, since: float) -> int:
        return sum(1 for at, _, _ in self.writes if at >= since)

    def _scale(self, replicas: int) -> None:
        """Pods of an up are ready together; a down takes those that are starting first, then whoever works."""
        more = replicas - self.replicas
        self.replicas = replicas
        if more > 0:
            self.starting.append((self.now + self.start_seconds, more))
            return
        while more < 0 and self.starting:
            ready_at, pods = self.starting.pop()
            more += pods
            if more > 0:
                self.starting.append((ready_at, more))
        if more < 0:
            self.working += more
            self.paused_until = self.now + self.pause_seconds

    def _tick(self) -> None:
        self.now += TICK_SECONDS
        self.arrived += self.load(self.now) * TICK_SECONDS
        self.arrivals.append((self.now, self.arrived))
        while self.starting and self.now >= self.starting[0][0]:
            self.working += self.starting.pop(0)[1]
            self.paused_until = self.now + self.pause_seconds
        if self.now >= self.paused_until and self.working:
            worth = self.partitions / math.ceil(self.partitions / min(self.working, self.partitions))
            self.done = min(self.arrived, self.done + worth * self.per_replica * TICK_SECONDS)
        if self.now % self.commit_seconds < TICK_SECONDS and self.done > self.committed:
            oldest = next(at for at, count in self.arrivals if count > self.committed)
            self.ages.append((self.done - self.committed, self.now - oldest))
            self.committed = self.done
            while len(self.arrivals) > 1 and self.arrivals[1][1] <= self.committed:
                self.arrivals.pop(0)

    def _observation(self) -> Observation:
        pausing = self.now < self.paused_until
        state = GroupState.PREPARING_REBALANCE if pausing else GroupState.STABLE
        group = GroupReading(
            at=self.now,
            state=state if self.working else GroupState.EMPTY,
            members=self.working,
            assignor="roundrobin",
            partitions=tuple(
                PartitionReading(
                    "t", p, self._of(self.committed, p), 0, self._of(self.arrived, p),
                    self._of(self.arrived, p) - self._of(self.committed, p),
                )
                for p in range(self.partitions)
            ),
            partition_ceiling=self.partitions,
        )  # fmt: skip
        return Observation(at=self.now, group=group, scale=Scale(replicas=self.replicas, ready=self.working))

    def _of(self, total: float, partition: int) -> int:
        return (int(total) + self.partitions - 1 - partition) // self.partitions


def promise(**more: object) -> Policy:
    """A policy with a promise of 60 s, from 1 to 20 replicas, a poll each 5 s."""
    values: dict[str, object] = {
        "min_replicas": 1, "max_replicas": 20, "max_delay_seconds": 60, "poll_interval_seconds": 5, **more
    }  # fmt: skip
    return Policy(**values)  # type: ignore[arg-type]


def reading(lags: list[int], **more: object) -> GroupReading:
    """A stable group with one consumer per partition and these lags, all committed at 1,000."""
    values: dict[str, object] = {
        "at": 0.0,
        "state": GroupState.STABLE,
        "members": 1,
        "partitions": tuple(PartitionReading("t", p, 1000, 0, 1000 + lag, lag) for p, lag in enumerate(lags)),
        "partition_ceiling": len(lags),
        **more,
    }
    return GroupReading(**values)  # type: ignore[arg-type]


def decided(
    policy: Policy, group: GroupReading | Unavailable, scale: Scale | Unavailable, *, now: float = 1000.0
) -> Decision:
    """One decision of a process that has watched for ten quiet minutes before."""
    history = History(began_at=now - 600, active_at=now - 600)
    observation = Observation(at=now, group=group, scale=scale)
    return decide(policy, observation, advance(policy, history, observation, now), now)
