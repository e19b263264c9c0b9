"""Delay in seconds, exactly, and the two isolation levels: records with stamps and transactions on a real broker."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from tests.addresses import ON_THIS_MACHINE

from bed import kafka_admin
from bed.kafka import Kafka
from consumer_autoscaler.decision.values import GroupReading, IsolationLevel
from consumer_autoscaler.sources.kafka.inspection.inspect import inspect
from consumer_autoscaler.sources.kafka.lag import transactions
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.protocol import GroupRequest, Subscription

pytestmark = pytest.mark.integration


@pytest.fixture
async def source() -> AsyncIterator[KafkaLagSource]:
    source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
    yield source
    await source.aclose()


@pytest.fixture
async def producer(kafka: Kafka) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"tx-{secrets.token_hex(4)}")
    await producer.start()
    yield producer
    await producer.stop()


async def topic_with_commit(kafka: Kafka, partitions: int = 1) -> str:
    """A topic and a group of one name, with commits at the start."""
    name = f"time-{secrets.token_hex(3)}"
    await kafka_admin.create_topics(kafka.bootstrap, [kafka_admin.Topic(name, partitions)])
    await kafka_admin.commit_offsets(kafka.bootstrap, name, {TopicPartition(name, p): 0 for p in range(partitions)})
    return name


async def stamped(kafka: Kafka, topic: str, ages: dict[int, list[float]]) -> None:
    """Records of those ages in seconds, to each partition in this order."""
    now = time.time()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    async with producer:
        for partition, each in ages.items():
            for age in each:
                stamp = round((now - age) * 1000)
                await producer.send_and_wait(topic, b"x", partition=partition, timestamp_ms=stamp)


def subscribed(source: KafkaLagSource, kafka: Kafka, group: str, level: IsolationLevel | None = None) -> Subscription:
    return source.subscribe(
        GroupRequest(
            bootstrap_servers=(kafka.bootstrap,),
            consumer_group=group,
            topics=(group,),
            isolation_level=level or IsolationLevel.READ_UNCOMMITTED,
            interval_seconds=1,
        )
    )


async def read(subscription: Subscription) -> GroupReading:
    reading = await subscription.next()
    assert isinstance(reading, GroupReading), reading
    return reading


async def older(source: KafkaLagSource, kafka: Kafka, group: str, seconds: float) -> int | None:
    subscription = subscribed(source, kafka, group)
    subscription.look_up_older_than(seconds)
    try:
        reading = await read(subscription)
        assert reading.older_than_seconds == seconds
        return reading.partitions_older
    finally:
        subscription.close()


async def test_whether_a_record_is_older_is_answered_exactly(kafka: Kafka, source: KafkaLagSource) -> None:
    """At any age: the partitions whose first unprocessed record is older, by the records' own stamps."""
    topic = await topic_with_commit(kafka, partitions=3)
    await stamped(kafka, topic, {0: [500, 100, 10], 1: [50, 40], 2: []})
    answers = [await older(source, kafka, topic, seconds) for seconds in (5, 45, 60, 400, 600)]
    assert answers == [2, 2, 1, 1, 0]
    await kafka_admin.commit_offsets(kafka.bootstrap, topic, {TopicPartition(topic, 0): 1, TopicPartition(topic, 1): 2})
    answers = [await older(source, kafka, topic, seconds) for seconds in (5, 90, 110)]
    assert answers == [1, 1, 0]


async def test_the_delay_that_is_shown_is_that_of_the_oldest_unprocessed_record(kafka: Kafka) -> None:
    """To half a percent, for each partition; 0 where nothing waits."""
    topic = await topic_with_commit(kafka, partitions=3)
    began = time.time()
    await stamped(kafka, topic, {0: [7200, 30], 1: [12.5], 2: []})
    (seen,) = await inspect([kafka.bootstrap], [topic], clock=time.time)
    slack = time.time() - began + 0.2
    for partition, age in ((0, 7200.0), (1, 12.5)):
        assert age * 0.995 - 0.1 <= seen.delays[topic, partition] <= age * 1.005 + slack
    assert seen.delays[topic, 2] == 0.0


async def test_an_open_transaction_is_lag_for_those_only_who_read_uncommitted(
    kafka: Kafka, source: KafkaLagSource, producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when it stays open, the reading says so: no replica can help."""
    monkeypatch.setattr(transactions, "LOOK_AGAIN_SECONDS", 0.5)
    topic = await topic_with_commit(kafka)
    await producer.begin_transaction()
    for _ in range(4):
        await producer.send_and_wait(topic, b"x", partition=0)
    all_records = subscribed(source, kafka, topic)
    committed = subscribed(source, kafka, topic, IsolationLevel.READ_COMMITTED)
    try:
        assert (await read(all_records)).lag_messages == 4
        assert (await read(committed)).lag_messages == 0
        note = ""
        for _ in range(8):
            note = note or (await read(committed)).note
        assert note.startswith(f"an open transaction holds back {topic}-0 (4 messages for ")
        await producer.commit_transaction()
        lag = 0
        for _ in range(8):
            lag = lag or (await read(committed)).lag_messages
        assert lag == 5  # the records, and the marker that ends the transaction
    finally:
        all_records.close()
        committed.close()
