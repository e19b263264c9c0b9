"""Streams groups of KIP-1071: their state, topics and tasks.

The unit of work is the task: a sub-topology has as many as the largest of the topics that it reads has partitions.
Source and repartition topics are read and committed, so their lag counts; changelogs are written and read back without
a commit, so they do not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.sources.kafka.groups.facts import GroupFacts, Subtopology, group_state
from consumer_autoscaler.sources.kafka.wire.codec import Cursor
from consumer_autoscaler.sources.kafka.wire.streams import present, skip_streams_member_middle, skip_topic_tail


def task_count(subtopologies: Iterable[Subtopology], partitions_of: Callable[[str], int]) -> int:
    """All tasks there are; `partitions_of` a topic that is not known is 0."""
    return sum(max([each.tasks, *map(partitions_of, each.topics)]) for each in subtopologies)


class Member(NamedTuple):
    """One thread of the application. A task is a sub-topology and a partition; `instance_id` is empty if dynamic."""

    member_id: str
    instance_id: str
    client_id: str
    host: str
    active: list[tuple[str, int]]
    idle: bool  # it has no task at all: one with standby or warm-up tasks keeps state
    promised: list[tuple[str, int]]  # active tasks that it is to have


def parse_streams(body: bytes, _version: int) -> GroupFacts:
    """Reads the body of a StreamsGroupDescribe group; raises one of DECODE_ERRORS.

    A group without a topology has not been told one by its members yet; while it is NotReady, repartition topics have
    no partitions.
    """
    cursor = Cursor(body)
    state = group_state(cursor.string())
    cursor.skip(8)  # group epoch, assignment epoch
    topics, tasks = _topology(cursor)
    members = idle = 0
    for member in _members(cursor):
        members += 1
        idle += member.idle
        for name, partition in (*member.active, *member.promised):
            if name in tasks:
                tasks[name] = max(tasks[name], partition + 1)
    return GroupFacts(
        state=state,
        members=members,
        idle_members=idle if state is GroupState.STABLE else 0,
        topics=tuple(sorted({topic for each in topics.values() for topic in each})) or None,
        subtopologies=tuple(Subtopology(each, tasks[name]) for name, each in topics.items()),
    )


def partition_owners(body: bytes) -> dict[tuple[str, int], Member]:
    """By topic and partition, the member with the active task that reads it; raises one of DECODE_ERRORS."""
    cursor = Cursor(body)
    cursor.skip_blob()  # state
    cursor.skip(8)
    topics, _ = _topology(cursor)
    return {
        (topic, partition): member
        for member in _members(cursor)
        for name, partition in member.active
        for topic in topics.get(name, ())
    }


def _topology(cursor: Cursor) -> tuple[dict[str, tuple[str, ...]], dict[str, int]]:
    """Of each sub-topology, the topics that it reads, and the partitions of the largest repartition topic."""
    topics: dict[str, tuple[str, ...]] = {}
    tasks: dict[str, int] = {}
    if not present(cursor):
        return topics, tasks
    cursor.skip(4)  # topology epoch
    for _ in range(cursor.count()):
        name = cursor.string()
        read = [sys.intern(cursor.string()) for _ in range(cursor.count())]
        for _ in range(cursor.count()):  # topics written to
            cursor.skip_blob()
        for _ in range(cursor.count()):  # changelogs
            cursor.skip_blob()
            skip_topic_tail(cursor)
        tasks[name] = 0
        for _ in range(cursor.count()):  # repartition topics read
            read.append(sys.intern(cursor.string()))
            tasks[name] = max(tasks[name], cursor.int32())
            skip_topic_tail(cursor, partitions=False)
        cursor.skip_tags()
        topics[name] = tuple(read)
    cursor.skip_tags()
    return topics, tasks


def _members(cursor: Cursor) -> Iterator[Member]:
    for _ in range(cursor.count()):
        member_id = cursor.string()
        cursor.skip(4)  # epoch
        instance_id = cursor.string()
        cursor.skip_blob()  # rack
        client_id, host = cursor.string(), cursor.string()
        skip_streams_member_middle(cursor)
        active, standby, warmup = [_tasks(cursor) for _ in range(3)]
        cursor.skip_tags()
        promised, _, _ = [_tasks(cursor) for _ in range(3)]
        cursor.skip_tags()
        cursor.skip(1)  # is classic
        cursor.skip_tags()
        yield Member(member_id, instance_id, client_id, host, active, not (active or standby or warmup), promised)


def _tasks(cursor: Cursor) -> list[tuple[str, int]]:
    found = []
    for _ in range(cursor.count()):
        name = sys.intern(cursor.string())
        found += [(name, cursor.int32()) for _ in range(cursor.count())]
        cursor.skip_tags()
    return found
