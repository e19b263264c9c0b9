"""What a describe answer says about a group, and how many of its consumers can have work.

Here the classic kind (DescribeGroups) and KIP-848's (ConsumerGroupDescribe); `shares` and `streams` have the other two.
The classic request calls an unknown group and one of another kind alike Dead, without an error, so Dead alone never
means that there are no consumers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from consumer_autoscaler.decision.reasons import GroupState
from consumer_autoscaler.sources.kafka.groups.streams_assignment import STREAMS_ASSIGNOR, TaskId, read_tasks
from consumer_autoscaler.sources.kafka.wire.codec import DECODE_ERRORS, Cursor
from consumer_autoscaler.sources.kafka.wire.requests import skip_consumer_member_head, skip_consumer_member_tail


@dataclass(frozen=True, slots=True)
class Subtopology:
    """A part of a Streams topology: as many tasks as the largest of its `topics` has partitions, at least `tasks`."""

    topics: tuple[str, ...]
    tasks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """One description. `topics` is the union of the members' subscriptions, None when it is not told.

    The classic kind tells members' subscriptions and assignments only while the group is Stable;
    `idle_members` is 0 otherwise. `assignor` is empty where it is not told. `partitions` is the highest
    partition given out plus one, per topic: more than the metadata has means that the metadata is old.
    `tasks` (classic Streams) and `subtopologies` (KIP-1071) say how much work there is to give out, where told.
    """

    state: GroupState
    members: int = 0
    idle_members: int = 0
    assignor: str = ""
    topics: tuple[str, ...] | None = None
    partitions: tuple[tuple[str, int], ...] = ()
    tasks: int = 0
    subtopologies: tuple[Subtopology, ...] = ()
    connect: bool = False  # all members are tasks of a Kafka Connect sink, by their client ids


GONE = GroupFacts(state=GroupState.DEAD)

CONNECT_CLIENT = b"connector-consumer-"  # then the connector and the task, in Kafka's own Worker


def partition_ceiling(assignor: str | None, partition_counts: Iterable[int]) -> int:
    """The number of consumers that can have work.

    `range` gives out each topic by itself, beginning with the same members, so it is the largest topic's
    count; all other assignors spread all partitions, so it is the sum. When no assignor was ever seen: the
    largest topic, which leaves no consumer idle under any assignor.
    """
    counts = list(partition_counts)
    if assignor is None or assignor == "range":
        return max(counts, default=0)
    return sum(counts)


def group_state(name: str) -> GroupState:
    """Unknown for a word that is not known."""
    try:
        return GroupState(name)
    except ValueError:
        return GroupState.UNKNOWN


def parse_classic(body: bytes) -> GroupFacts:
    """Reads the body of a DescribeGroups v5 group; raises one of DECODE_ERRORS."""
    cursor = Cursor(body)
    state = group_state(cursor.string())
    protocol_type, assignor = cursor.string(), cursor.string()
    stable = state is GroupState.STABLE
    readable = stable and protocol_type in ("consumer", "stream")
    topics: set[str] = set()
    highest: dict[str, int] = {}
    tasks: set[TaskId] | None = set() if assignor == STREAMS_ASSIGNOR else None
    idle = 0
    members = cursor.count()
    connect = members > 0
    for _ in range(members):
        cursor.skip_blob()  # member
        cursor.skip_blob()  # instance
        connect = cursor.blob().startswith(CONNECT_CLIENT) and connect
        cursor.skip_blob()  # host
        subscription, assignment = cursor.blob(), cursor.blob()
        cursor.skip_tags()
        if readable:
            topics.update(_subscribed(subscription))
            some, own = _note_assigned(assignment, highest)
            if assignor == STREAMS_ASSIGNOR:  # a member without a partition may keep standby copies of state
                given = read_tasks(own)
                some = some or given is None or bool(given.standby)
                tasks = None if tasks is None or given is None else tasks | given.active
            idle += not some
    return GroupFacts(
        state=state,
        members=members,
        idle_members=idle,
        assignor=sys.intern(assignor),
        topics=tuple(sorted(topics)) if readable and topics else None,
        partitions=tuple(highest.items()),
        tasks=len(tasks) if tasks else 0,
        connect=connect,
    )


def _subscribed(metadata: bytes) -> list[str]:
    """The topics of a ConsumerProtocolSubscription of any version; another form has none."""
    cursor = Cursor(metadata)
    try:
        cursor.int16()  # version
        return [sys.intern(cursor.old_string()) for _ in range(cursor.old_count())]
    except DECODE_ERRORS:
        return []


def _note_assigned(assignment: bytes, highest: dict[str, int]) -> tuple[bool, bytes]:
    """Whether a ConsumerProtocolAssignment gives its member any partition, and the assignor's own bytes.

    No bytes at all: it gives none.
    """
    cursor = Cursor(assignment)
    some = False
    try:
        cursor.int16()  # version
        for _ in range(cursor.old_count()):
            topic = sys.intern(cursor.old_string())
            for _ in range(cursor.old_count()):
                highest[topic] = max(highest.get(topic, 0), cursor.int32() + 1)
                some = True
        return some, cursor.take(cursor.old_count())
    except DECODE_ERRORS:
        return bool(assignment), b""  # another form: busy as far as can be told


def parse_consumer(body: bytes, version: int) -> GroupFacts:
    """Reads the body of a ConsumerGroupDescribe group; raises one of DECODE_ERRORS."""
    cursor = Cursor(body)
    state = group_state(cursor.string())
    cursor.skip(8)  # group epoch, assignment epoch
    assignor = cursor.string()
    topics: set[str] = set()
    highest: dict[str, int] = {}
    idle = 0
    members = cursor.count()
    for _ in range(members):
        skip_consumer_member_head(cursor)
        topics.update(sys.intern(cursor.string()) for _ in range(cursor.count()))
        by_expression = bool(cursor.blob())
        own = note_assignment(cursor, highest)
        target = note_assignment(cursor, highest)
        if by_expression:  # what the expression matches is what the members are given
            topics.update(own, target)
        idle += not own
        skip_consumer_member_tail(cursor, version)
    return facts_of(state, assignor, members, idle, topics, highest)


def facts_of(
    state: GroupState, assignor: str, members: int, idle: int, topics: set[str], highest: dict[str, int]
) -> GroupFacts:
    """Of the kinds whose coordinator assigns (KIP-848, KIP-932): who is idle counts only while the group is Stable."""
    return GroupFacts(
        state=state,
        members=members,
        idle_members=idle if state is GroupState.STABLE else 0,
        assignor=sys.intern(assignor) if members else "",
        topics=tuple(sorted(topics)) if topics else None,
        partitions=tuple(highest.items()),
    )


def note_assignment(cursor: Cursor, highest: dict[str, int]) -> set[str]:
    """The topics of an assignment as KIP-848 and KIP-932 write it; notes the partitions in `highest`."""
    topics: set[str] = set()
    for _ in range(cursor.count()):
        cursor.skip(16)  # topic id
        topic = sys.intern(cursor.string())
        for _ in range(cursor.count()):
            highest[topic] = max(highest.get(topic, 0), cursor.int32() + 1)
            topics.add(topic)
        cursor.skip_tags()
    cursor.skip_tags()
    return topics
