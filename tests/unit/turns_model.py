"""The modelled group with partitions served in turn, as Kafka's consumers serve them.

A consumer hands out all it fetched of one partition before it turns to the next, and a fetch brings all that waits
there while records are small. The fluid law knows only the mean; here the last partition in the turn gets old.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace

from tests.unit.decision_model import TICK_SECONDS, Group

from consumer_autoscaler.decision.values import GroupReading, Observation


@dataclass
class TurnsGroup(Group):
    """Equal partitions dealt out in a circle; on each change everybody reads on from the commits."""

    served: list[float] = field(default_factory=list)  # records processed, by partition
    commits: list[float] = field(default_factory=list)
    fetched: list[float] = field(default_factory=list)
    turns: list[list[int]] = field(default_factory=list)  # by consumer: its partitions, the one being served first
    ends: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)])  # (time, end of each partition)
    assigned_to: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.commits = [0.0] * self.partitions
        self._assign()

    def _tick(self) -> None:
        self.now += TICK_SECONDS
        self.arrived += self.load(self.now) * TICK_SECONDS
        end = self.arrived / self.partitions
        self.ends.append((self.now, end))
        while self.starting and self.now >= self.starting[0][0]:
            self.working += self.starting.pop(0)[1]
            self._commit()
            self._assign()
            self.paused_until = self.now + self.pause_seconds
        if self.now >= self.paused_until and self.working:
            if self.assigned_to != self.working:
                self._commit()
                self._assign()
            for turn in self.turns:
                self._serve(turn, end)
        if self.now % self.commit_seconds < TICK_SECONDS:
            self._commit()

    def _serve(self, turn: list[int], end: float) -> None:
        left = self.per_replica * TICK_SECONDS
        for _ in range(len(turn) + 1):
            partition = turn[0]
            records = min(left, self.fetched[partition] - self.served[partition])
            self.served[partition] += records
            left -= records
            if left <= 0:
                return
            self.fetched[partition] = end
            turn.append(turn.pop(0))

    def _assign(self) -> None:
        consumers = max(1, min(self.working, self.partitions))
        self.turns = [list(range(first, self.partitions, consumers)) for first in range(consumers)]
        self.served, self.fetched = list(self.commits), list(self.commits)
        self.assigned_to = self.working

    def _commit(self) -> None:
        for partition, served in enumerate(self.served):
            before = self.commits[partition]
            if served > before + 1e-9:
                came = min(bisect_right(self.ends, before, key=lambda point: point[1]), len(self.ends) - 1)
                self.ages.append((served - before, self.now - self.ends[came][0]))
                self.commits[partition] = served
        self.committed = sum(self.commits)

    def _observation(self) -> Observation:
        observation = super()._observation()
        group = observation.group
        assert isinstance(group, GroupReading)
        end = int(self.arrived / self.partitions)
        partitions = tuple(
            replace(reading, end_offset=end, committed_offset=int(done), lag_messages=max(0, end - int(done)))
            for reading, done in zip(group.partitions, self.commits, strict=True)
        )
        return replace(observation, group=replace(group, partitions=partitions))
