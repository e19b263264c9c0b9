"""A hot partition: one that gets more than its share, and more than the one consumer that reads it can do."""

from __future__ import annotations

from dataclasses import dataclass

from consumer_autoscaler.decision.capacity import capacity_of
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.levels import Levels
from consumer_autoscaler.decision.stuck import Partition
from consumer_autoscaler.decision.tracks import Track, waited_seconds
from consumer_autoscaler.decision.values import GroupKind, GroupReading, Policy

HOT = 1.5  # times the mean rate of the group's partitions
LATE = 0.5  # of the longest wait: a partition that waits so long is one of those that are behind
KEEPS_UP = 0.5  # of the partitions: when so many keep up, it is not the number of replicas that is missing
CATCHES_UP = 0.97  # of what arrives: when so much is finished, it is not the partition's rate
SETTLED_SECONDS = 60.0  # after a rebalance, before a partition that one consumer could carry is called hot
STANDS = 0.05  # of what arrives; a partition of which less is finished is not being worked on


@dataclass(frozen=True, slots=True)
class Skew:
    """The hottest partition of those that are behind. `per_consumer` is what one consumer can do, None if unknown."""

    topic: str
    partition: int
    arrival_per_second: float
    finished_per_second: float
    share: float  # of all that arrives
    per_consumer: float | None
    late: tuple[Track, ...]  # all partitions that are behind
    hot: tuple[Track, ...]  # those of them that one consumer cannot keep up with


def skew_of(
    policy: Policy, group: GroupReading, history: History, levels: Levels, without: frozenset[Partition]
) -> Skew | None:
    """What one hot partition does to the group; None when it is not that. `without`: partitions that are stuck."""
    tracks = [t for t in history.tracks if (t.topic, t.partition) not in without and t.arrival_per_second is not None]
    if group.kind is GroupKind.SHARE or len(tracks) < 2 or not history.replicas:
        return None
    readings = {(reading.topic, reading.partition): reading for reading in group.partitions}
    waits = [waited_seconds(track, readings[track.topic, track.partition], group.at) for track in tracks]
    longest = max(waits)
    total = sum(track.arrival_per_second or 0.0 for track in tracks)
    late = tuple(track for track, wait in zip(tracks, waits, strict=True) if wait > 0 and wait >= LATE * longest)
    working = [t for t in late if (t.finished_per_second or 0.0) > STANDS * (t.arrival_per_second or 0.0)]
    if not working or total <= 0:
        return None
    hottest = max(working, key=lambda track: track.arrival_per_second or 0.0)
    rate, done = hottest.arrival_per_second or 0.0, hottest.finished_per_second or 0.0
    if rate < HOT * total / len(tracks) or done >= CATCHES_UP * rate:
        return None  # as many as any other, or it catches up
    capacity = capacity_of(policy, history)
    per_consumer = max(capacity.per_replica / policy.consumers_per_pod, done) if capacity.known else None
    rested = 0.0 if history.settled_since is None else group.at - history.settled_since
    if per_consumer is not None and rate <= per_consumer and rested < SETTLED_SECONDS:
        return None  # what has piled up in a rebalance is no skew
    hot = tuple(t for t in working if per_consumer is not None and (t.arrival_per_second or 0.0) > per_consumer)
    carries = capacity.per_replica * levels.worth(history.replicas) if capacity.known else 0.0
    most_keep_up = len(tracks) - len(late) >= KEEPS_UP * len(tracks)
    if not most_keep_up and not (hot and carries >= total):
        return None
    return Skew(hottest.topic, hottest.partition, rate, done, rate / total, per_consumer, late, hot)


def only_hot_ones_wait(skew: Skew) -> bool:
    """Whether more replicas can help nobody: all that are behind get more than one consumer can do."""
    return len(skew.hot) == len(skew.late)
