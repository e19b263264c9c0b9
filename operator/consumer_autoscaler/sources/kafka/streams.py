"""Streams groups of KIP-1071: their state, topics and tasks.

The unit of work is the task: a sub-topology has as many as the largest of the topics that it reads has partitions.
Source and repartition topics are read and committed, so their lag counts; changelogs are written and read back without
a commit, so they do not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.sources.kafka.codec import Cursor
from consumer_autoscaler.sources.kafka.groups import GroupFacts, Subtopology, group_state
from consumer_autoscaler.sources.kafka.wire_streams import present, skip_streams_member_head, skip_topic_tail


def task_count(subtopologies: Iterable[Subtopology], partitions_of: Callable[[str], int]) -> int:
    """All tasks there are; `partitions_of` a topic that is not known is 0."""
    return sum(max([each.tasks, *map(partitions_of, each.topics)]) for each in subtopologies)


def parse_streams(body: bytes, _version: int) -> GroupFacts:
    """Reads the body of a StreamsGroupDescribe group; raises one of DECODE_ERRORS.

    A member (a thread) is idle when it has no task at all: one with standby or warm-up tasks keeps state. The topology
    is not told before all source topics are there.
    """
    cursor = Cursor(body)
    state = group_state(cursor.string())
    cursor.skip(8)  # group epoch, assignment epoch
    topics: dict[str, tuple[str, ...]] = {}  # of each sub-topology, those it reads
    tasks: dict[str, int] = {}
    if present(cursor):
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
    idle = 0
    members = cursor.count()
    for _ in range(members):
        skip_streams_member_head(cursor)
        busy = False
        for target in (False, True):
            for active in (True, False, False):  # active, standby, warm-up
                for _ in range(cursor.count()):
                    name = cursor.string()
                    for _ in range(cursor.count()):
                        number = cursor.int32() + 1
                        busy = busy or not target
                        if active and name in tasks:
                            tasks[name] = max(tasks[name], number)
                    cursor.skip_tags()
            cursor.skip_tags()
        cursor.skip(1)  # is classic
        cursor.skip_tags()
        idle += not busy
    return GroupFacts(
        state=state,
        members=members,
        idle_members=idle if state is GroupState.STABLE else 0,
        topics=tuple(sorted({topic for each in topics.values() for topic in each})) or None,
        subtopologies=tuple(Subtopology(each, tasks[name]) for name, each in topics.items()),
    )
