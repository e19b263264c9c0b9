"""The two requests that only share groups need (KIP-932): who is in them, and how far they are.

A share group commits no offsets. Its group coordinator (FindCoordinator key type 0, as for every group) answers both
requests; key type 2 finds the keeper of one partition's state, which only brokers ask. Versions: ShareGroupDescribe 1
(Kafka 4.1; version 0 was 4.0's early access and is gone), DescribeShareGroupOffsets 0 (4.1) and 1 (4.2, KIP-1226: lag).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from consumer_autoscaler.sources.kafka.wire.codec import NO_TAGS, Cursor, array, string
from consumer_autoscaler.sources.kafka.wire.requests import (
    DESCRIBE_SHARE_GROUP_OFFSETS,
    SHARE_GROUP_DESCRIBE,
    Answer,
    Committed,
    Described,
    Request,
    each_described,
)

_HEAD = struct.Struct(">iqi")  # partition, start offset, leader epoch


class ShareOffsets(NamedTuple):
    """Of one share group, by topic and partition: `starts`, the first offset that is not finished, -1 where the group
    has no state yet; `lags`, what it still has to finish from there to the end, -1 where the broker does not tell.
    `partition_errors` names one code per topic that has one.
    """

    group: str
    error: int
    starts: Committed
    lags: Committed
    partition_errors: dict[str, int]


def describe_share(groups: Iterable[str]) -> Request:
    return Request(SHARE_GROUP_DESCRIBE, (1,), array(map(string, groups)) + b"\x00" + NO_TAGS)


def read_share(answer: Answer) -> Iterator[Described]:
    """`body`: state, two epochs, assignor, members."""
    return each_described(answer, _skip_body)


def _skip_body(cursor: Cursor, _version: int) -> None:
    cursor.skip_blob()
    cursor.skip(8)
    cursor.skip_blob()
    for _ in range(cursor.count()):
        skip_share_member_head(cursor)
        for _ in range(cursor.count()):  # subscribed topics
            cursor.skip_blob()
        for _ in range(cursor.count()):  # assignment
            cursor.skip(16)
            cursor.skip_blob()
            cursor.skip_int32s()
            cursor.skip_tags()
        cursor.skip_tags()
        cursor.skip_tags()


def skip_share_member_head(cursor: Cursor) -> None:
    for _ in range(2):  # member, rack
        cursor.skip_blob()
    cursor.skip(4)  # epoch
    for _ in range(2):  # client, host
        cursor.skip_blob()


def share_offsets(items: Iterable[bytes]) -> Request:
    """`items` are those of an OffsetFetch: a group and its topics are written alike in both."""
    return Request(DESCRIBE_SHARE_GROUP_OFFSETS, (0, 1), array(items) + NO_TAGS)


def read_share_offsets(answer: Answer) -> Iterator[ShareOffsets]:
    """A state that the broker could not read looks like one that is not there: -1, without an error."""
    data = answer.data
    cursor = Cursor(data, 4)
    for _ in range(cursor.count()):
        group = cursor.string()
        starts: Committed = {}
        lags: Committed = {}
        errors: dict[str, int] = {}
        for _ in range(cursor.count()):
            topic = sys.intern(cursor.string())
            cursor.skip(16)  # topic id
            own_starts = starts[topic] = {}
            own_lags = lags[topic] = {}
            for _ in range(cursor.count()):
                partition, start, _ = _HEAD.unpack_from(data, cursor.position)
                cursor.skip(_HEAD.size)
                lag = cursor.int64() if answer.version >= 1 else -1
                error = cursor.int16()
                cursor.skip_blob()  # error message
                cursor.skip_tags()
                if error:
                    errors[topic] = error
                else:
                    own_starts[partition], own_lags[partition] = start, lag
            cursor.skip_tags()
        error = cursor.int16()
        cursor.skip_blob()  # error message
        cursor.skip_tags()
        yield ShareOffsets(group, error, starts, lags, errors)
