"""Whether an unprocessed record is older than an age, by timestamp, exactly and without reading a record.

ListOffsets with a timestamp T names the first offset o of a partition whose record is not older than T, or -1 when all
are. With position c of the group and end e, some unprocessed record is older than T if and only if c < o, or o is -1
and c < e. The timestamps are the records' own: the producers' clocks, unless the topic is set to LogAppendTime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from consumer_autoscaler.decision.tracks import position_of
from consumer_autoscaler.decision.values import GroupReading, PartitionReading
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.lag.verdict import Outcome, Watch
from consumer_autoscaler.sources.kafka.offsets import read_at_times
from consumer_autoscaler.sources.kafka.topology import Topology
from consumer_autoscaler.sources.kafka.wire import requests as wire

Times = dict[str, dict[int, int]]  # topic -> partition -> timestamp in milliseconds


async def with_ages(
    brokers: Brokers, topology: Topology, outcomes: Mapping[Watch, Outcome], *, at: float
) -> dict[Watch, Outcome]:
    """The outcomes of the watches that ask for it, with `older_than_seconds` and `partitions_older`; `at` is wall time.

    One request per leader; more only when several watches ask for other ages of the same partition, since Kafka
    answers for a partition once per request.
    """
    rounds: dict[bool, list[Times]] = {False: [], True: []}
    asked: dict[Watch, list[tuple[PartitionReading, int]]] = {}  # the round that asks for each partition
    for watch, outcome in outcomes.items():
        if watch.older_than_seconds is None or not isinstance(outcome.result, GroupReading):
            continue
        then_ms = round((at - watch.older_than_seconds) * 1000)
        lagging = [p for p in outcome.result.partitions if p.lag_messages]
        asked[watch] = [(p, _place(rounds[watch.committed_only], p, then_ms)) for p in lagging]
    found = {
        committed: [await read_at_times(brokers, topology, times, committed=committed) for times in each]
        for committed, each in rounds.items()
    }
    filled: dict[Watch, Outcome] = {}
    for watch, partitions in asked.items():
        result = outcomes[watch].result
        assert isinstance(result, GroupReading)
        older: int | None = 0
        for partition, number in partitions:
            late = _older(partition, found[watch.committed_only][number])
            older = None if late is None or older is None else older + late
        seen = replace(result, older_than_seconds=watch.older_than_seconds, partitions_older=older)
        filled[watch] = Outcome(seen, outcomes[watch].again)
    return filled


def _place(rounds: list[Times], partition: PartitionReading, at: int) -> int:
    """Puts the question into the first round that has none, or the same one, for this partition."""
    for number, times in enumerate(rounds):
        if times.setdefault(partition.topic, {}).setdefault(partition.partition, at) == at:
            return number
    rounds.append({partition.topic: {partition.partition: at}})
    return len(rounds) - 1


def _older(partition: PartitionReading, first: Mapping[tuple[str, int], int]) -> bool | None:
    offset = first.get((partition.topic, partition.partition))
    if offset is None:
        return None
    return offset == wire.NOT_FOUND or position_of(partition) < offset
