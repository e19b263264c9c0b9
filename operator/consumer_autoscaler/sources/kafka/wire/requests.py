"""The six requests a reading is made of: how each is written and its answer read.

Written after Kafka's public message schemas (clients/src/main/resources/common/message). Each request is
fixed to the version that batches and that every broker since 3.0 speaks; ConsumerGroupDescribe exists since
3.7. aiokafka has none of these versions, and its DescribeGroups v3 cannot be read for more than one group.

An `Answer` carries bytes; the `read_*` functions are generators, so that the caller can let the loop run in
between.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import NamedTuple

from aiokafka.protocol.api import RequestHeader_v2, ResponseHeader_v1

from consumer_autoscaler.sources.kafka.wire.codec import NO_TAGS, NULL, Cursor, array, string, varint

LIST_OFFSETS, METADATA, OFFSET_FETCH, FIND_COORDINATOR, DESCRIBE_GROUPS, CONSUMER_GROUP_DESCRIBE = (
    2,
    3,
    9,
    10,
    15,
    69,
)

LIST_GROUPS, SHARE_GROUP_DESCRIBE, STREAMS_GROUP_DESCRIBE, DESCRIBE_SHARE_GROUP_OFFSETS = 16, 77, 89, 90

REQUEST_NAMES: Mapping[int, str] = {
    LIST_OFFSETS: "ListOffsets",
    METADATA: "Metadata",
    OFFSET_FETCH: "OffsetFetch",
    FIND_COORDINATOR: "FindCoordinator",
    DESCRIBE_GROUPS: "DescribeGroups",
    CONSUMER_GROUP_DESCRIBE: "ConsumerGroupDescribe",
    LIST_GROUPS: "ListGroups",
    SHARE_GROUP_DESCRIBE: "ShareGroupDescribe",
    STREAMS_GROUP_DESCRIBE: "StreamsGroupDescribe",
    DESCRIBE_SHARE_GROUP_OFFSETS: "DescribeShareGroupOffsets",
}

END_OFFSETS, START_OFFSETS = -1, -2  # ListOffsets' special timestamps
NOT_FOUND = -1  # ListOffsets' answer when no record is as young as the timestamp


class Unsupported(Exception):
    """The broker speaks no version of the request that this module does."""


class Answer(NamedTuple):
    """An answer's body, undecoded, and the version it is in."""

    version: int
    data: bytes


class _Decoder:
    """What a connection calls to decode a body: keeps the bytes."""

    def __init__(self, version: int) -> None:
        self._version = version

    def decode(self, data: BytesIO) -> Answer:
        return Answer(self._version, data.read())


class _Written:
    """A request in the version that a connection negotiated, in the form aiokafka's connection sends."""

    FLEXIBLE_VERSION = True

    def __init__(self, key: int, version: int, body: bytes) -> None:
        self.API_KEY = key
        self.API_VERSION = version
        self.RESPONSE_TYPE = _Decoder(version)
        self._body = body

    def build_request_header(self, correlation_id: int, client_id: str) -> RequestHeader_v2:
        return RequestHeader_v2(self, correlation_id=correlation_id, client_id=client_id)

    def parse_response_header(self, data: BytesIO) -> ResponseHeader_v1:
        return ResponseHeader_v1.decode(data)

    def encode(self) -> bytes:
        return self._body


class Request:
    """A request whose body is the same in all the `versions` it may be sent in."""

    def __init__(self, key: int, versions: Sequence[int], body: bytes) -> None:
        self.key = key
        self.name = REQUEST_NAMES[key]
        self._versions = versions
        self._body = body

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> _Written:
        """Takes the newest version that the broker allows (`versions`: ApiVersions); raises Unsupported."""
        lowest, highest = versions.get(self.key, (0, -1))
        for version in sorted(self._versions, reverse=True):
            if lowest <= version <= highest:
                return _Written(self.key, version, self._body)
        raise Unsupported(f"the broker does not speak {self.name} version {max(self._versions)}")


# Metadata v10 ---------------------------------------------------------------------------------------------


class BrokerAddress(NamedTuple):
    node_id: int
    host: str
    port: int


class TopicMetadata(NamedTuple):
    """`leaders[p]` is the node that leads partition p, -1 for none."""

    name: str
    error: int
    topic_id: bytes
    leaders: tuple[int, ...]


def metadata(topics: Iterable[str]) -> Request:
    """Asks for the named topics only and never creates one; no topics: the brokers alone."""
    body = array(bytes(16) + string(topic) + NO_TAGS for topic in topics)
    return Request(METADATA, (10,), body + b"\x00\x00\x00" + NO_TAGS)  # no auto-creation, no rights


def read_brokers(cursor: Cursor) -> list[BrokerAddress]:
    """The first half of a Metadata answer; `read_topics` reads on from there."""
    cursor.skip(4)  # throttle time
    brokers = []
    for _ in range(cursor.count()):
        brokers.append(BrokerAddress(cursor.int32(), cursor.string(), cursor.int32()))
        cursor.skip_blob()  # rack
        cursor.skip_tags()
    cursor.skip_blob()  # cluster id
    cursor.skip(4)  # controller
    return brokers


def read_topics(cursor: Cursor) -> Iterator[TopicMetadata]:
    for _ in range(cursor.count()):
        error, name, topic_id = cursor.int16(), sys.intern(cursor.string()), cursor.take(16)
        cursor.skip(1)  # is internal
        leaders: dict[int, int] = {}
        for _ in range(cursor.count()):
            cursor.skip(2)  # an error here says no more than the leader's absence
            partition = cursor.int32()
            leaders[partition] = cursor.int32()
            cursor.skip(4)  # leader epoch
            for _ in range(3):  # replicas, in sync, offline
                cursor.skip_int32s()
            cursor.skip_tags()
        cursor.skip(4)  # authorized operations
        cursor.skip_tags()
        count = max(leaders, default=-1) + 1
        if count != len(leaders):
            raise ValueError("partition numbers with gaps")
        yield TopicMetadata(name, error, topic_id, tuple(leaders[p] for p in range(count)))


# FindCoordinator v4 ---------------------------------------------------------------------------------------


def find_coordinator(groups: Iterable[str]) -> Request:
    return Request(FIND_COORDINATOR, (4,), b"\x00" + array(map(string, groups)) + NO_TAGS)


def read_coordinators(data: bytes) -> Iterator[tuple[str, int, BrokerAddress]]:
    """(group, error, its coordinator)"""
    cursor = Cursor(data, 4)
    for _ in range(cursor.count()):
        group = cursor.string()
        address = BrokerAddress(cursor.int32(), cursor.string(), cursor.int32())
        error = cursor.int16()
        cursor.skip_blob()  # error message
        cursor.skip_tags()
        yield group, error, address


# OffsetFetch v8 -------------------------------------------------------------------------------------------

_FETCHED = struct.Struct(">iqi")  # partition, offset, leader epoch

Committed = dict[str, dict[int, int]]  # topic -> partition -> offset, -1 for none


class GroupOffsets(NamedTuple):
    """`partition_errors` names one (topic, code) per topic that has one."""

    group: str
    error: int
    committed: Committed
    partition_errors: dict[str, int]


def fetch_item(group: str, partitions: Mapping[str, int] | None) -> bytes:
    """One group of an OffsetFetch: topic -> number of partitions; None asks for all it ever committed."""
    if partitions is None:
        return string(group) + NULL + NO_TAGS
    topics = (
        string(topic) + varint(count + 1) + struct.pack(f">{count}i", *range(count)) + NO_TAGS
        for topic, count in partitions.items()
    )
    return string(group) + array(topics) + NO_TAGS


def offset_fetch(items: Iterable[bytes], *, stable: bool = False) -> Request:
    """`stable` (KIP-447) makes commits of a transaction that is open now an error, where they would be lag."""
    return Request(OFFSET_FETCH, (8,), array(items) + (b"\x01" if stable else b"\x00") + NO_TAGS)


def read_committed(data: bytes) -> Iterator[GroupOffsets]:
    cursor = Cursor(data, 4)
    unpack, width = _FETCHED.unpack_from, _FETCHED.size
    for _ in range(cursor.count()):
        group = cursor.string()
        committed: Committed = {}
        errors: dict[str, int] = {}
        for _ in range(cursor.count()):
            topic = sys.intern(cursor.string())
            offsets = committed[topic] = {}
            for _ in range(cursor.count()):
                partition, offset, _ = unpack(data, cursor.position)
                cursor.position += width
                cursor.skip_blob()  # metadata
                error = cursor.int16()
                cursor.skip_tags()
                if error:
                    errors[topic] = error
                else:
                    offsets[partition] = offset
            cursor.skip_tags()
        error = cursor.int16()
        cursor.skip_tags()
        yield GroupOffsets(group, error, committed, errors)


# ListOffsets v7 -------------------------------------------------------------------------------------------

_ASKED = struct.Struct(">iiqB")  # partition, leader epoch, timestamp, no tags
_LISTED = struct.Struct(">ihqqi")  # partition, error, timestamp, offset, leader epoch


def list_item(topic: str, partitions: Sequence[int], timestamp: int) -> bytes:
    """One topic of a ListOffsets. A partition may appear once per request."""
    rows = b"".join(_ASKED.pack(partition, -1, timestamp, 0) for partition in partitions)
    return string(topic) + varint(len(partitions) + 1) + rows + NO_TAGS


def list_item_at(topic: str, times: Mapping[int, int]) -> bytes:
    """One topic of a ListOffsets, each partition with a timestamp in milliseconds of its own."""
    rows = b"".join(_ASKED.pack(partition, -1, at, 0) for partition, at in times.items())
    return string(topic) + varint(len(times) + 1) + rows + NO_TAGS


def list_offsets(items: Iterable[bytes], *, committed: bool = False) -> Request:
    """As an ordinary client (replica -1), up to the high watermark; `committed`: up to the last stable offset."""
    isolation = b"\x01" if committed else b"\x00"
    return Request(LIST_OFFSETS, (7,), b"\xff\xff\xff\xff" + isolation + array(items) + NO_TAGS)


def read_offsets(data: bytes) -> Iterator[tuple[str, list[tuple[int, int, int]]]]:
    """(topic, rows of (partition, error, offset))"""
    cursor = Cursor(data, 4)
    unpack, width = _LISTED.unpack_from, _LISTED.size
    for _ in range(cursor.count()):
        topic = sys.intern(cursor.string())
        rows = []
        for _ in range(cursor.count()):
            partition, error, _, offset, _ = unpack(data, cursor.position)
            cursor.position += width
            cursor.skip_tags()
            rows.append((partition, error, offset))
        cursor.skip_tags()
        yield topic, rows


# DescribeGroups v5, ConsumerGroupDescribe v0-1 ------------------------------------------------------------


class Described(NamedTuple):
    """A group's part of a describe answer; `body` is what `groups` parses, when it has changed."""

    group: str
    error: int
    body: bytes


def describe_classic(groups: Iterable[str]) -> Request:
    return Request(DESCRIBE_GROUPS, (5,), array(map(string, groups)) + b"\x00" + NO_TAGS)


def describe_consumer(groups: Iterable[str]) -> Request:
    return Request(CONSUMER_GROUP_DESCRIBE, (0, 1), array(map(string, groups)) + b"\x00" + NO_TAGS)


def read_classic(data: bytes) -> Iterator[Described]:
    """`body`: state, protocol type, protocol, members."""
    cursor = Cursor(data, 4)
    for _ in range(cursor.count()):
        error, group = cursor.int16(), cursor.string()
        start = cursor.position
        for _ in range(3):
            cursor.skip_blob()
        for _ in range(cursor.count()):
            for _ in range(6):  # member, instance, client, host, subscription, assignment
                cursor.skip_blob()
            cursor.skip_tags()
        yield Described(group, error, data[start : cursor.position])
        cursor.skip(4)  # authorized operations
        cursor.skip_tags()


def each_described(answer: Answer, skip_body: Callable[[Cursor, int], None]) -> Iterator[Described]:
    """The frame that all describe requests but the classic one share; `skip_body` passes over a group's body."""
    cursor = Cursor(answer.data, 4)
    for _ in range(cursor.count()):
        error = cursor.int16()
        cursor.skip_blob()  # error message
        group = cursor.string()
        start = cursor.position
        skip_body(cursor, answer.version)
        yield Described(group, error, answer.data[start : cursor.position])
        cursor.skip(4)  # authorized operations
        cursor.skip_tags()


def read_consumer(answer: Answer) -> Iterator[Described]:
    """`body`: state, two epochs, assignor, members."""
    return each_described(answer, _skip_consumer_body)


def _skip_consumer_body(cursor: Cursor, version: int) -> None:
    cursor.skip_blob()
    cursor.skip(8)
    cursor.skip_blob()
    for _ in range(cursor.count()):
        skip_consumer_member_head(cursor)
        for _ in range(cursor.count()):  # subscribed topics
            cursor.skip_blob()
        cursor.skip_blob()  # subscribed regular expression
        for _ in range(2):  # assignment, target
            for _ in range(cursor.count()):
                cursor.skip(16)
                cursor.skip_blob()
                cursor.skip_int32s()
                cursor.skip_tags()
            cursor.skip_tags()
        skip_consumer_member_tail(cursor, version)


def skip_consumer_member_head(cursor: Cursor) -> None:
    for _ in range(3):  # member, instance, rack
        cursor.skip_blob()
    cursor.skip(4)  # epoch
    for _ in range(2):  # client, host
        cursor.skip_blob()


def skip_consumer_member_tail(cursor: Cursor, version: int) -> None:
    if version >= 1:
        cursor.skip(1)  # member type
    cursor.skip_tags()
