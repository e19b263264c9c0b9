"""Asks the leaders for end and start offsets: one request per broker, whatever the number of topics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.sources.kafka.broker import BrokerFailed
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.slices import Slices
from consumer_autoscaler.sources.kafka.topology import Topic, Topology
from consumer_autoscaler.sources.kafka.wire import codes
from consumer_autoscaler.sources.kafka.wire import requests as wire
from consumer_autoscaler.sources.kafka.wire.codec import DECODE_ERRORS


class Problem(NamedTuple):
    """Why something could not be read, and whether asking again at once may help."""

    reason: SourceReason
    message: str
    again: bool


class Offsets(NamedTuple):
    """`values[topic][p]`, -1 where not read; `problems` names one per topic that is not complete."""

    values: dict[str, list[int]]
    problems: dict[str, Problem]


async def read_ends(brokers: Brokers, topology: Topology, topics: Iterable[Topic], *, committed: bool) -> Offsets:
    """The end of each partition of `topics`: the high watermark, or the last stable offset (`committed`)."""
    asked = list(topics)
    requests: dict[int, list[bytes]] = {}
    slices = Slices()
    for topic in asked:
        for leader, item in topic.items.items():
            requests.setdefault(leader, []).append(item)
        await slices.breathe()
    return await _read(brokers, topology, asked, requests, committed=committed)


async def read_at_times(
    brokers: Brokers, topology: Topology, times: Mapping[str, Mapping[int, int]], *, committed: bool
) -> dict[tuple[str, int], int]:
    """The first offset that is not older than each partition's timestamp (milliseconds), NOT_FOUND when all are older.

    What could not be read is not in the result.
    """
    requests: dict[int, list[bytes]] = {}
    for name, partitions in times.items():
        topic = topology.topic(name)
        by_leader: dict[int, dict[int, int]] = {}
        for partition, at in partitions.items():
            if topic is not None and partition < len(topic.leaders) and topic.leaders[partition] >= 0:
                by_leader.setdefault(topic.leaders[partition], {})[partition] = at
        for leader, each in by_leader.items():
            requests.setdefault(leader, []).append(wire.list_item_at(name, each))
    found: dict[tuple[str, int], int] = {}
    await asyncio.gather(
        *(_ask_at(brokers, leader, items, found, committed=committed) for leader, items in requests.items())
    )
    return found


async def _ask_at(
    brokers: Brokers, leader: int, items: list[bytes], found: dict[tuple[str, int], int], *, committed: bool
) -> None:
    slices = Slices()
    with suppress(BrokerFailed, *DECODE_ERRORS):  # the reading stands without it
        answer = await brokers.ask(leader, wire.list_offsets(items, committed=committed))
        for topic, rows in wire.read_offsets(answer.data):
            found.update({(topic, partition): offset for partition, error, offset in rows if not error})
            await slices.breathe()


async def read_starts(brokers: Brokers, topology: Topology, topics: Iterable[Topic], *, all_of_them: bool) -> Offsets:
    """The start of each partition of `topics` (or those not known yet), also noted in `Topic.starts`."""
    asked = []
    requests: dict[int, list[bytes]] = {}
    slices = Slices()
    for topic in topics:
        by_leader: dict[int, list[int]] = {}
        for partition, leader in enumerate(topic.leaders):
            if leader >= 0 and (all_of_them or topic.starts[partition] == -1):
                by_leader.setdefault(leader, []).append(partition)
        if by_leader:
            asked.append(topic)
        for leader, partitions in by_leader.items():
            item = wire.list_item(topic.name, partitions, wire.START_OFFSETS)
            requests.setdefault(leader, []).append(item)
        await slices.breathe()
    starts = await _read(brokers, topology, asked, requests, committed=False)
    for topic in asked:
        values = starts.values[topic.name]
        if len(values) == len(topic.starts):
            topic.starts = [new if new != -1 else old for new, old in zip(values, topic.starts, strict=True)]
        await slices.breathe()
    return starts


async def _read(
    brokers: Brokers, topology: Topology, topics: list[Topic], requests: Mapping[int, list[bytes]], *, committed: bool
) -> Offsets:
    offsets = Offsets({}, {})
    names: dict[str, frozenset[int]] = {}
    slices = Slices()
    for topic in topics:
        offsets.values[topic.name] = [-1] * len(topic.leaders)
        names[topic.name] = frozenset(topic.leaders)
        if -1 in topic.leaders:
            partition = topic.leaders.index(-1)
            message = f"partition {topic.name}-{partition} has no leader at present"
            offsets.problems[topic.name] = Problem(SourceReason.PARTIAL_READING, message, True)
            topology.leaders_outdated()
        await slices.breathe()
    await asyncio.gather(
        *(
            _ask(brokers, topology, leader, wire.list_offsets(items, committed=committed), names, offsets)
            for leader, items in requests.items()
        )
    )
    return offsets


async def _ask(
    brokers: Brokers,
    topology: Topology,
    leader: int,
    request: wire.Request,
    leaders: Mapping[str, frozenset[int]],
    offsets: Offsets,
) -> None:
    slices = Slices()
    try:
        answer = await brokers.ask(leader, request)
        for topic, rows in wire.read_offsets(answer.data):
            values = offsets.values[topic]
            for partition, error, offset in rows:
                if error:
                    if error in codes.LEADER_MOVED:
                        topology.leaders_outdated()
                    offsets.problems[topic] = _partition_problem(topic, partition, error)
                else:
                    values[partition] = offset
            await slices.breathe()
    except (BrokerFailed, *DECODE_ERRORS, KeyError) as error:
        topology.leaders_outdated()
        reason = error.reason if isinstance(error, BrokerFailed) else SourceReason.PARTIAL_READING
        what = str(error) if isinstance(error, BrokerFailed) else f"broker {leader}'s offsets cannot be read: {error!r}"
        for topic, its_leaders in leaders.items():
            if leader in its_leaders:
                message = f"{what}; it leads partitions of {topic}"
                offsets.problems[topic] = Problem(reason, message, True)


def _partition_problem(topic: str, partition: int, error: int) -> Problem:
    if error == codes.TOPIC_AUTHORIZATION_FAILED:
        message = f"the right Describe on topic {topic} is missing: {codes.words(error)}"
        return Problem(SourceReason.AUTHORIZATION_FAILED, message, False)
    message = f"the end of {topic}-{partition} is not known: {codes.words(error)}"
    return Problem(
        SourceReason.PARTIAL_READING,
        message,
        error in codes.LEADER_MOVED or error == codes.OFFSET_NOT_AVAILABLE,
    )
