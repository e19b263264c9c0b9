"""What the modelled group is like: partitions, consumers, rebalances, pods, commits, and what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from consumer_autoscaler.simulation.trace import Floats


class Rebalance(StrEnum):
    """Eager: everybody stops. Cooperative (KIP-429) and consumer (KIP-848): only partitions that move stop."""

    EAGER = "eager"
    COOPERATIVE = "cooperative"
    CONSUMER = "consumer"


class Assignor(StrEnum):
    """Range deals out each topic by itself; roundrobin all partitions in a circle; sticky and uniform (KIP-848's)
    keep what is balanced and move the rest.
    """

    RANGE = "range"
    ROUNDROBIN = "roundrobin"
    STICKY = "sticky"
    UNIFORM = "uniform"


class Order(StrEnum):
    """How one consumer serves its partitions. Fair: in proportion to what waits there. Turns: one after the other, each
    until all that was fetched of it is done, as Kafka's consumers do while records are small.
    """

    FAIR = "fair"
    TURNS = "turns"


@dataclass(frozen=True, slots=True)
class Duration:
    """A time that varies: lognormal with this mean, and standard deviation `cv` times the mean."""

    mean_seconds: float
    cv: float = 0.0

    def draw(self, rng: np.random.Generator) -> float:
        if self.cv <= 0 or self.mean_seconds <= 0:
            return self.mean_seconds
        sigma2 = math.log(1 + self.cv**2)
        return float(rng.lognormal(math.log(self.mean_seconds) - sigma2 / 2, math.sqrt(sigma2)))


@dataclass(frozen=True, slots=True)
class SlowDownstream:
    """From `at` on each consumer works at `factor` of its pace, and all together do at most `limit_per_second`."""

    at: float
    seconds: float
    factor: float = 1.0
    limit_per_second: float = math.inf


@dataclass(frozen=True, slots=True)
class Crash:
    """A pod dies without leaving the group: noticed after the session timeout, back after a pod start."""

    at: float
    session_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class StuckPartition:
    """One partition is not processed any more; the others of its consumer are."""

    at: float
    seconds: float
    partition: int


@dataclass(frozen=True, slots=True)
class PartitionsAdded:
    """The topic has `partitions` from `at` on, with equal shares of the load from then on."""

    at: float
    partitions: int


Fault = SlowDownstream | Crash | StuckPartition | PartitionsAdded


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The defaults are those of the project's benchmarks. Times are rounded to whole ticks."""

    topics: tuple[int, ...] = (24,)  # partitions of each
    weights: tuple[float, ...] | None = None  # shares of the load by partition; None: equal
    records_per_second: float = 100.0  # of one replica that always has work
    capacity_changes: tuple[tuple[float, float], ...] = ()  # (time, records per second from then on)
    processing_cv: float = 0.0  # of the time of one record
    consumers_per_pod: int = 1
    start: Duration = Duration(30.0)  # from the request until the pod joins
    pause: Duration = Duration(10.0)  # of a rebalance, for the partitions that stop
    rebalance: Rebalance = Rebalance.EAGER
    assignor: Assignor = Assignor.ROUNDROBIN
    order: Order = Order.FAIR
    commit_seconds: float = 5.0
    pod_metrics: bool = False  # whether the pods tell their processing time
    faults: tuple[Fault, ...] = ()
    tick_seconds: float = 1.0

    def ticks(self, seconds: float) -> int:
        return max(0, round(seconds / self.tick_seconds))

    def partition_weights(self) -> Floats:
        count = sum(self.topics)
        return np.full(count, 1 / count) if self.weights is None else np.array(self.weights, dtype=float)


def skewed_weights(partitions: int, exponent: float) -> tuple[float, ...]:
    """Shares that fall as 1 / rank ** exponent, dealt out so that neighbours differ; 0 is equal."""
    shares = [1 / (rank + 1) ** exponent for rank in range(partitions)]
    total = sum(shares)
    step = next(s for s in range(max(1, round(partitions * 0.618)), partitions + 2) if math.gcd(s, partitions) == 1)
    return tuple(shares[(index * step) % partitions] / total for index in range(partitions))


def assign(assignor: Assignor, topics: Sequence[int], members: Sequence[int], owners: Sequence[int]) -> list[int]:
    """The member of each partition, -1 without members. `members` in the order in which the assignor sees them;
    `owners` is who had what before.
    """
    if not members:
        return [-1] * sum(topics)
    if assignor is Assignor.ROUNDROBIN:
        return [members[index % len(members)] for index in range(sum(topics))]
    if assignor is Assignor.RANGE:
        dealt: list[int] = []
        for count in topics:
            each, more = divmod(count, len(members))
            for rank, member in enumerate(members):
                dealt += [member] * (each + (rank < more))
        return dealt
    return _sticky(sum(topics), members, owners)


def _sticky(count: int, members: Sequence[int], owners: Sequence[int]) -> list[int]:
    each, more = divmod(count, len(members))
    held: dict[int, list[int]] = {member: [] for member in members}
    free: list[int] = []
    for partition in range(count):
        owner = owners[partition] if partition < len(owners) else -1
        held.get(owner, free).append(partition)
    ranked = sorted(members, key=lambda member: -len(held[member]))
    quota = {member: each + (rank < more) for rank, member in enumerate(ranked)}
    for member in members:
        free += held[member][quota[member] :]
        held[member] = held[member][: quota[member]]
    for partition in sorted(free):
        neediest = min(members, key=lambda member: len(held[member]) - quota[member])
        held[neediest].append(partition)
    result = [-1] * count
    for member, partitions in held.items():
        for partition in partitions:
            result[partition] = member
    return result
