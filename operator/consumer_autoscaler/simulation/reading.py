"""The modelled group as a poll of a broker would show it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.decision.values import GroupKind, GroupReading, PartitionReading
from consumer_autoscaler.simulation.trace import Floats
from consumer_autoscaler.simulation.world import Assignor, Rebalance, World

_REBALANCING: dict[Rebalance, GroupState] = {
    Rebalance.EAGER: GroupState.PREPARING_REBALANCE,
    Rebalance.COOPERATIVE: GroupState.PREPARING_REBALANCE,
    Rebalance.CONSUMER: GroupState.RECONCILING,
}


def reading_of(
    world: World,
    *,
    at: float,
    topics: Sequence[int],
    ends: Floats,
    commits: Floats,
    members: int,
    idle: int,
    rebalancing: bool,
    older_than_seconds: float | None,
    partitions_older: int | None,
) -> GroupReading:
    """Offsets are whole records; `topics` is how many partitions each has now."""
    settled = GroupState.STABLE if members else GroupState.EMPTY
    state = _REBALANCING[world.rebalance] if rebalancing else settled
    end_offsets: list[int] = ends.astype(np.int64).tolist()
    committed: list[int] = commits.astype(np.int64).tolist()
    readings: list[PartitionReading] = []
    for number, count in enumerate(topics):
        name = f"topic-{number}"
        first = len(readings)
        for partition in range(count):
            end, commit = end_offsets[first + partition], committed[first + partition]
            readings.append(PartitionReading(name, partition, commit, None, end, end - commit))
    return GroupReading(
        at=at,
        state=state,
        kind=GroupKind.CONSUMER if world.rebalance is Rebalance.CONSUMER else GroupKind.CLASSIC,
        members=members,
        idle_members=idle if state is GroupState.STABLE else 0,
        assignor=world.assignor.value,
        partitions=tuple(readings),
        partition_ceiling=max(topics) if world.assignor is Assignor.RANGE else sum(topics),
        older_than_seconds=older_than_seconds,
        partitions_older=partitions_older,
    )
