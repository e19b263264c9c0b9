"""What tests and benchmarks do to a Kafka cluster from outside: topics, groups, offsets, a few records.

Asynchronous functions that open a client, do one thing and close it; `run` calls them from synchronous code,
also when the calling thread has a running event loop. Every function raises aiokafka's KafkaError, or
TimeoutError when the cluster does not get there within the time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteGroupsRequest
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

_TIMEOUT_SECONDS = 30.0
_REQUEST_TIMEOUT_MS = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Topic:
    name: str
    partitions: int
    replication: int = 1
    configs: Mapping[str, str] = field(default_factory=dict)


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, run by an event loop in a thread of its own."""
    with ThreadPoolExecutor(1, thread_name_prefix="bed-kafka") as pool:
        return pool.submit(asyncio.run, work).result()


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await admin.start()
            yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def _client(bootstrap: str) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await client.bootstrap()
            yield client
    finally:
        await client.close()


class AclOn(IntEnum):
    """What an ACL is about, by Kafka's numbers."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4


class AclFor(IntEnum):
    """What an ACL allows, by Kafka's numbers."""

    READ = 3
    DESCRIBE = 8


async def allow(bootstrap: str, principal: str, operation: AclFor, on: AclOn, name: str) -> None:
    """An ACL that allows `principal` (`User:alice`, `User:*`) this from anywhere; returns when it is in force here."""
    async with _client(bootstrap) as client:
        literal, allowed = 3, 3
        node = client.cluster.controller
        answer = await client.send(
            client.get_random_node() if node is None else node.nodeId,
            CreateAclsRequest(on, name, literal, principal, "*", operation, allowed),
        )
    for code, _ in answer.creation_responses:
        if for_code(code) is not NoError:
            raise for_code(code)(f"ACL for {principal}")


async def brokers_known_to(address: str) -> set[int]:
    """Ids of the brokers that the one at `address` names; empty while it cannot answer or has no leader."""
    client = AIOKafkaClient(bootstrap_servers=address, request_timeout_ms=2_000)
    try:
        async with asyncio.timeout(5):
            await client.bootstrap()
            cluster = client.cluster
            return {b.nodeId for b in cluster.brokers()} if cluster.controller is not None else set()
    except (KafkaError, TimeoutError):
        return set()
    finally:
        await client.close()


async def create_topics(bootstrap: str, topics: Sequence[Topic]) -> None:
    """Creates all topics in one request; returns when every broker names a leader of each partition."""
    async with _admin(bootstrap) as admin:
        wanted = [NewTopic(t.name, t.partitions, t.replication, topic_configs=dict(t.configs)) for t in topics]
        answer = await admin.create_topics(wanted)
        for name, code, message in answer.topic_errors:
            if code:
                raise for_code(code)(f"{name}: {message}")
    await _until_led(bootstrap, {t.name: t.partitions for t in topics})


async def delete_topics(bootstrap: str, names: Sequence[str]) -> None:
    """Returns when no broker names them any more."""
    async with _admin(bootstrap) as admin:
        answer = await admin.delete_topics(list(names))
        for name, code in answer.topic_error_codes:
            if code:
                raise for_code(code)(name)
    await _until_led(bootstrap, dict.fromkeys(names, 0))


async def add_partitions(bootstrap: str, name: str, total: int) -> None:
    """Raises the topic's number of partitions to `total`; returns when each has a leader."""
    async with _admin(bootstrap) as admin:
        await admin.create_partitions({name: NewPartitions(total)})
    await _until_led(bootstrap, {name: total})


async def delete_records(bootstrap: str, before: Mapping[TopicPartition, int]) -> None:
    """Moves each partition's start to the offset, as retention does."""
    async with _admin(bootstrap) as admin:
        await admin.delete_records({tp: RecordsToDelete(before_offset=offset) for tp, offset in before.items()})


async def delete_groups(bootstrap: str, groups: Sequence[str]) -> None:
    """Deletes groups without members, each with its offsets."""
    async with _client(bootstrap) as client:
        for group in groups:
            node = await _coordinator(client, group)
            answer = await client.send(node, DeleteGroupsRequest([group]))
            for name, code in answer.results:
                if code:
                    raise for_code(code)(name)


async def commit_offsets(bootstrap: str, group: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commits for `group` as a consumer with manual assignment does: the group must have no members."""
    await commit_many(bootstrap, {group: offsets})


async def commit_many(bootstrap: str, groups: Mapping[str, Mapping[TopicPartition, int]]) -> None:
    """`commit_offsets` for many groups over one client."""
    async with _client(bootstrap) as client:
        for group, offsets in groups.items():
            topics = _by_topic({tp: (tp.partition, offset, "") for tp, offset in offsets.items()})
            request = OffsetCommitRequest(group, -1, "", -1, topics)
            await _until_settled(client, group, request)


async def committed_offsets(
    bootstrap: str, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """The group's committed offsets; partitions without a commit are left out."""
    async with _client(bootstrap) as client:
        topics = _by_topic({tp: tp.partition for tp in partitions})
        answer = await _until_settled(client, group, OffsetFetchRequest(group, topics))
        return {
            TopicPartition(topic, partition): offset
            for topic, rows in answer.topics
            for partition, offset, _, _ in rows
            if offset >= 0
        }


async def end_offsets(bootstrap: str, topic: str) -> dict[TopicPartition, int]:
    """The high watermark of each partition that has a leader; KafkaError when a leader cannot be reached."""
    async with _client(bootstrap) as client:
        while True:
            leaders = await _leaders(client, [topic])
            found: dict[TopicPartition, int] = {}
            errors: list[KafkaError] = []
            for node in set(leaders.values()):
                rows = [(tp.partition, -1) for tp, leader in leaders.items() if leader == node]
                answer = await client.send(node, OffsetRequest(-1, 0, [(topic, rows)]))
                for _, parts in answer.topics:
                    for partition, code, _, offset in parts:
                        found[TopicPartition(topic, partition)] = offset
                        errors += [for_code(code)(f"{topic}-{partition}")] if code else []
            if not errors:
                return found
            for error in errors:
                if not error.retriable:
                    raise error
            await asyncio.sleep(0.05)  # a leader that does not know yet that it is one


async def lag_messages(bootstrap: str, group: str, topic: str) -> int:
    """End offsets minus committed offsets, a partition without a commit counted from 0."""
    ends = await end_offsets(bootstrap, topic)
    committed = await committed_offsets(bootstrap, group, list(ends))
    return sum(end - committed.get(tp, 0) for tp, end in ends.items())


async def produce_now(
    bootstrap: str, topic: str, per_partition_counts: Mapping[int, int], *, record_bytes: int = 100
) -> None:
    """Writes so many records to each partition as fast as it goes; returns when all are acknowledged."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5, max_batch_size=262_144)
    value = bytes(record_bytes)
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        await producer.start()
    try:
        async with asyncio.timeout(300):
            last = [
                await producer.send(topic, value, partition=partition)
                for partition, count in per_partition_counts.items()
                for _ in range(count)
            ]
            await asyncio.gather(*last)
    finally:
        await producer.stop()


async def produce_at_once(bootstrap: str, topic: str, per_partition_counts: Mapping[int, int]) -> None:
    """So many small records to each partition by one request to each leader: who reads meanwhile sees all or nothing.

    Nearly: a broker appends to one partition after the other, within a millisecond.
    """
    async with _client(bootstrap) as client:
        leaders = await _leaders(client, [topic])
        for node in set(leaders.values()):
            rows = [
                (p, _batch(count))
                for p, count in per_partition_counts.items()
                if count and leaders[TopicPartition(topic, p)] == node
            ]
            if rows:
                answer = await client.send(node, ProduceRequest(None, -1, _REQUEST_TIMEOUT_MS, [(topic, rows)]))
                for _, results in answer.topics:
                    for partition, code, *_ in results:
                        if code:
                            raise for_code(code)(f"{topic}-{partition}")


def _batch(count: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=64 * count + 1024,
    )  # fmt: skip
    for i in range(count):
        builder.append(i, timestamp=int(time.time() * 1000), key=None, value=b"x", headers=[])
    return bytes(builder.build())


def _by_topic(rows: Mapping[TopicPartition, T]) -> list[tuple[str, list[T]]]:
    topics: dict[str, list[T]] = {}
    for tp, row in rows.items():
        topics.setdefault(tp.topic, []).append(row)
    return list(topics.items())


async def _coordinator(client: AIOKafkaClient, group: str) -> int:
    """Waits while the offsets topic is being created, which the first question for a coordinator starts."""
    while True:
        try:
            node: int = await client.coordinator_lookup(CoordinationType.GROUP, group)
            if await client.ready(node):
                return node
            await client.force_metadata_update()
        except KafkaError as error:
            if not error.retriable:
                raise
        await asyncio.sleep(0.1)


async def _until_settled(client: AIOKafkaClient, group: str, request: Any) -> Any:
    """The coordinator's first answer without a transient error; other errors are raised."""
    while True:
        try:
            answer = await client.send(await _coordinator(client, group), request)
        except KafkaError as error:
            if not error.retriable:
                raise
        else:
            codes = {row[-1] for _, rows in answer.topics for row in rows} | {getattr(answer, "error_code", 0)}
            errors = [for_code(code) for code in codes if code]
            if not errors:
                return answer
            for error_type in errors:
                if not error_type.retriable:
                    raise error_type(group)
        await asyncio.sleep(0.1)


async def _leaders(client: AIOKafkaClient, topics: Sequence[str], node: int | None = None) -> dict[TopicPartition, int]:
    """Leaders of the topics' partitions, of those that have one; asks so that nothing is created."""
    asked = client.get_random_node() if node is None else node
    answer = await client.send(asked, MetadataRequest(list(topics), allow_auto_topic_creation=False))
    return {
        TopicPartition(name, part[1]): part[2]
        for code, name, _, parts in answer.topics
        if for_code(code) is NoError
        for part in parts
        if part[2] >= 0
    }


async def _until_led(bootstrap: str, partitions: Mapping[str, int]) -> None:
    """Until every reachable broker names leaders for exactly so many partitions of each topic."""
    async with _client(bootstrap) as client:
        for node in [broker.nodeId for broker in client.cluster.brokers()]:
            while True:
                leaders = await _leaders(client, list(partitions), node)
                if all(sum(tp.topic == name for tp in leaders) == n for name, n in partitions.items()):
                    break
                await asyncio.sleep(0.05)
