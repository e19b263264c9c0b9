"""Which replica counts can help, and what each of them sustains.

A group is as fast as its fullest consumer. With P equal partitions and c consumers the fullest one has ceil(P / c)
of them, so more consumers help only when that number falls: 24 partitions go as fast with 11 consumers as with 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from consumer_autoscaler.decision.uneven import Uneven, useful_counts
from consumer_autoscaler.decision.values import Policy, ReplicaSteps


@dataclass(frozen=True, slots=True)
class Levels:
    """The replica counts to choose from, ascending, never empty, all within the limits of the policy.

    `ceiling` is the number of consumers that can have work (0 when unknown: then every replica counts in full);
    `consumers_per_pod` is how many of them one pod brings.
    """

    counts: tuple[int, ...]
    ceiling: int
    consumers_per_pod: int
    uneven: Uneven | None = None  # where the partitions' shares of the load differ, then with
    uneven_worths: tuple[float, ...] = ()  # of 1, 2, … replicas

    def worth(self, replicas: int) -> float:
        """How many full replicas' work `replicas` can do: P / (k * ceil(P / (r * k))), at most `replicas`.

        Where the partitions' shares of the load differ: 1 / (k * the fullest consumer's share).
        """
        if replicas <= 0:
            return 0.0
        if self.uneven_worths:
            return self.uneven_worths[min(replicas, len(self.uneven_worths)) - 1]
        if self.ceiling <= 0:
            return float(replicas)
        k = self.consumers_per_pod
        return min(float(replicas), self.ceiling / (k * math.ceil(self.ceiling / (replicas * k))))

    def at_work(self, replicas: int) -> float:
        """How many full replicas work when every consumer that has a partition has something to do."""
        return min(float(replicas), self.ceiling / self.consumers_per_pod) if self.ceiling > 0 else float(replicas)

    def pods_with_work(self) -> int | None:
        """The most pods that can have a partition; None when unknown."""
        return math.ceil(self.ceiling / self.consumers_per_pod) if self.ceiling > 0 else None

    def at_least(self, worth: float) -> int:
        """The smallest count whose worth is `worth` or more; the largest count there is when none suffices."""
        for count in self.counts:
            if self.worth(count) >= worth - 1e-9:
                return count
        return self.counts[-1]

    def next_above(self, replicas: int) -> int:
        """The smallest count above `replicas`; the largest count there is when there is none."""
        return next((count for count in self.counts if count > replicas), self.counts[-1])


def levels_for(policy: Policy, ceiling: int, uneven: Uneven | None = None) -> Levels:
    """The counts between the policy's limits that lower the load of the fullest consumer (or all, if asked).

    The configured minimum always is a level. The maximum is one only if it helps: a smaller count that sustains
    just as much is cheaper. Zero is not a level: going to and from zero has rules of its own.
    """
    low = max(1, policy.min_replicas)
    k = policy.consumers_per_pod
    high = policy.max_replicas
    if ceiling > 0:
        high = min(high, math.ceil(ceiling / k))
    high = max(low, high)
    worths: tuple[float, ...] = ()
    if uneven is not None and ceiling > 0:
        worths = tuple(
            min(float(replicas), 1 / (k * uneven.fullest_share(replicas * k))) for replicas in range(1, high + 1)
        )
    if policy.replica_steps is ReplicaSteps.ANY or ceiling <= 0:
        return Levels(tuple(range(low, high + 1)), ceiling, k, uneven if worths else None, worths)
    if worths:
        return Levels(tuple(useful_counts(worths[low - 1 :], low)), ceiling, k, uneven if worths else None, worths)
    counts = [low]
    for replicas in range(low + 1, high + 1):
        if math.ceil(ceiling / (replicas * k)) < math.ceil(ceiling / ((replicas - 1) * k)):
            counts.append(replicas)
    return Levels(tuple(counts), ceiling, k)
