"""Everything about some groups of a cluster at one moment: what the operator would read, with owners and exact ages.

Uses the operator's own reading for offsets, lag and the verdict, so that its numbers are the operator's. Read-only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.tracks import position_of
from consumer_autoscaler.decision.values import GroupReading, IsolationLevel, OffsetReset, Unavailable
from consumer_autoscaler.sources.address_policy import AddressPolicy
from consumer_autoscaler.sources.kafka.access.security import Security
from consumer_autoscaler.sources.kafka.broker import BrokerFailed
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.inspection.listing import list_groups
from consumer_autoscaler.sources.kafka.inspection.oldest import oldest_seconds
from consumer_autoscaler.sources.kafka.inspection.owners import Owners, read_owners
from consumer_autoscaler.sources.kafka.lag.verdict import Watch
from consumer_autoscaler.sources.kafka.reading import ClusterReader
from consumer_autoscaler.sources.kafka.stats import ReadingStats
from consumer_autoscaler.sources.kafka.topology import Topology

REQUEST_SECONDS = 10.0
_LOOKS, _PAUSE_SECONDS = 4, 1.1  # what could pass by itself is looked at again, as the operator's next poll would


@dataclass(frozen=True, slots=True)
class GroupInspection:
    """One group. `delays` has the age in seconds of each partition's oldest unprocessed record; 0.0 without lag."""

    group: str
    reading: GroupReading | Unavailable
    owners: Owners
    delays: dict[tuple[str, int], float]


async def inspect(
    bootstrap_servers: Sequence[str],
    groups: Sequence[str] = (),
    *,
    clock: Callable[[], float],
    topics: Sequence[str] = (),
    offset_reset: OffsetReset = OffsetReset.LATEST,
    isolation_level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    security: Security | None = None,
) -> list[GroupInspection]:
    """Of the named groups, or of all; `clock` gives the wall time, in which records are stamped.

    Raises BrokerFailed when the cluster cannot be reached at all.
    """
    brokers = Brokers(
        bootstrap_servers,
        client_id="consumer-autoscaler-lag",
        timeout_seconds=REQUEST_SECONDS,
        stats=ReadingStats(),
        security=security,
        policy=AddressPolicy(allow_loopback=True),  # a person's own look, from their own machine
        clock=clock,
    )
    try:
        names = list(dict.fromkeys(groups)) or await list_groups(brokers)
        reader = ClusterReader(brokers, clock=clock, timeout_seconds=3 * REQUEST_SECONDS)
        committed = isolation_level is IsolationLevel.READ_COMMITTED
        watches = [Watch(name, tuple(sorted(set(topics))), offset_reset, committed_only=committed) for name in names]
        readings = await _settled(reader, watches)
        topology = Topology(brokers)
        owners = await _owners(brokers, topology, names)
        return [
            GroupInspection(
                watch.group,
                reading,
                owners.get(watch.group, {}),
                await _delays(brokers, topology, reading, clock, committed=committed),
            )
            for watch, reading in readings.items()
        ]
    finally:
        await brokers.aclose()


async def _settled(reader: ClusterReader, watches: Sequence[Watch]) -> dict[Watch, GroupReading | Unavailable]:
    readings = await reader.read(watches)
    for _ in range(_LOOKS - 1):
        doubtful = [watch for watch in watches if _may_pass(readings[watch])]
        if not doubtful:
            break
        await asyncio.sleep(_PAUSE_SECONDS)
        readings.update(await reader.read(doubtful))
    return {watch: readings[watch] for watch in watches}


def _may_pass(reading: GroupReading | Unavailable) -> bool:
    return isinstance(reading, Unavailable) and reading.reason is SourceReason.PARTIAL_READING


async def _owners(brokers: Brokers, topology: Topology, groups: Iterable[str]) -> dict[str, Owners]:
    try:
        return await read_owners(brokers, topology, groups)
    except BrokerFailed:
        return {}


async def _delays(
    brokers: Brokers,
    topology: Topology,
    reading: GroupReading | Unavailable,
    clock: Callable[[], float],
    *,
    committed: bool,
) -> dict[tuple[str, int], float]:
    if isinstance(reading, Unavailable):
        return {}
    delays = {(p.topic, p.partition): 0.0 for p in reading.partitions if p.lag_messages == 0}
    positions = {(p.topic, p.partition): position_of(p) for p in reading.partitions if p.lag_messages}
    if positions:
        await topology.ensure_topics({topic for topic, _ in positions})
        delays |= await oldest_seconds(brokers, topology, positions, at=clock(), committed=committed)
    return delays
