"""The tasks that a classic Kafka Streams group gives out, from its assignor's own bytes.

Streams puts an AssignmentInfo into the user data of each member's assignment, which DescribeGroups shows while the
group is Stable: version, (from 3 on) the newest version that all members know, active tasks, standby tasks with their
partitions, and more that is not read. A task is a sub-topology and a partition, from version 10 on with the name of a
topology. Known are versions 1 to 11 (Kafka 4); a later one is read as not known.
Source: streams/…/processor/internals/assignment/{AssignmentInfo,ConsumerProtocolUtils}.java
"""

from __future__ import annotations

from typing import NamedTuple

from consumer_autoscaler.sources.kafka.wire.codec import DECODE_ERRORS, Cursor

STREAMS_ASSIGNOR = "stream"  # Streams joins as an ordinary consumer with an assignor of this name
_NEWEST, _NAMED = 11, 10

TaskId = tuple[int, int, bytes]  # sub-topology, partition, name of the topology


class Tasks(NamedTuple):
    active: frozenset[TaskId]
    standby: frozenset[TaskId]


def read_tasks(user_data: bytes) -> Tasks | None:
    """One member's tasks; None when they cannot be read."""
    cursor = Cursor(user_data)
    try:
        version = cursor.int32()
        if not 1 <= version <= _NEWEST:
            return None
        if version >= 3:
            cursor.skip(4)  # the newest version that all know
        # One entry per partition of a task, so the same task may come several times.
        active = frozenset(_task(cursor, version) for _ in range(cursor.old_count()))
        standby = set()
        for _ in range(cursor.old_count()):
            standby.add(_task(cursor, version))
            for _ in range(cursor.old_count()):
                cursor.old_string()
                cursor.skip(4)  # partition
        return Tasks(active, frozenset(standby))
    except DECODE_ERRORS:
        return None


def _task(cursor: Cursor, version: int) -> TaskId:
    subtopology, partition = cursor.int32(), cursor.int32()
    name = cursor.take(2 * cursor.old_count()) if version >= _NAMED else b""  # UTF-16
    return subtopology, partition, name
