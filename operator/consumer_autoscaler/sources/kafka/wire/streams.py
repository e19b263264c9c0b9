"""StreamsGroupDescribe 0 (KIP-1071, Kafka 4.1): the members of a Streams group, its sub-topologies and its tasks.

Version 1 adds the topology in words, which a reading does not need. Offsets of a Streams group are fetched as any
group's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from consumer_autoscaler.sources.kafka.wire.codec import NO_TAGS, Cursor, array, string
from consumer_autoscaler.sources.kafka.wire.requests import (
    STREAMS_GROUP_DESCRIBE,
    Answer,
    Described,
    Request,
    each_described,
)


def describe_streams(groups: Iterable[str]) -> Request:
    return Request(STREAMS_GROUP_DESCRIBE, (0,), array(map(string, groups)) + b"\x00" + NO_TAGS)


def read_streams(answer: Answer) -> Iterator[Described]:
    """`body`: state, two epochs, topology, members."""
    return each_described(answer, _skip_body)


def _skip_body(cursor: Cursor, _version: int) -> None:
    cursor.skip_blob()
    cursor.skip(8)
    if present(cursor):
        cursor.skip(4)  # topology epoch
        for _ in range(cursor.count()):
            cursor.skip_blob()  # id
            for _ in range(2):  # source topics, topics written to
                for _ in range(cursor.count()):
                    cursor.skip_blob()
            for _ in range(2):  # changelogs, repartition topics read
                for _ in range(cursor.count()):
                    cursor.skip_blob()
                    skip_topic_tail(cursor)
            cursor.skip_tags()
        cursor.skip_tags()
    for _ in range(cursor.count()):
        cursor.skip_blob()  # member
        cursor.skip(4)  # epoch
        for _ in range(4):  # instance, rack, client, host
            cursor.skip_blob()
        skip_streams_member_middle(cursor)
        for _ in range(2):  # assignment, target
            for _ in range(3):  # active, standby, warm-up
                _skip_tasks(cursor)
            cursor.skip_tags()
        cursor.skip(1)  # is classic
        cursor.skip_tags()


def present(cursor: Cursor) -> bool:
    """Whether a nullable struct follows: -1 stands for null."""
    return cursor.int8() < 0x80


def skip_topic_tail(cursor: Cursor, *, partitions: bool = True) -> None:
    """What follows the name of an internal topic, or its number of partitions."""
    if partitions:
        cursor.skip(4)
    cursor.skip(2)  # replication
    _skip_pairs(cursor)  # settings
    cursor.skip_tags()


def skip_streams_member_middle(cursor: Cursor) -> None:
    """Everything between the member's host and its assignment."""
    cursor.skip(4)  # topology epoch
    cursor.skip_blob()  # process
    if present(cursor):  # address for queries
        cursor.skip_blob()
        cursor.skip(2)
        cursor.skip_tags()
    _skip_pairs(cursor)  # tags of the client
    for _ in range(2):  # changelog offsets, their ends
        for _ in range(cursor.count()):
            cursor.skip_blob()
            cursor.skip(12)
            cursor.skip_tags()


def _skip_pairs(cursor: Cursor) -> None:
    for _ in range(cursor.count()):
        cursor.skip_blob()
        cursor.skip_blob()
        cursor.skip_tags()


def _skip_tasks(cursor: Cursor) -> None:
    for _ in range(cursor.count()):
        cursor.skip_blob()
        cursor.skip_int32s()
        cursor.skip_tags()
