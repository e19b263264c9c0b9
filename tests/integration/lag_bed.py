"""What the tests of lag share: a cluster, a source that reads it, and short words for what is done to it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from bed import kafka_admin
from bed.kafka import Kafka
from consumer_autoscaler.decision.values import GroupReading, IsolationLevel, OffsetReset, Unavailable
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.protocol import GroupRequest, Subscription

Reading = GroupReading | Unavailable


@dataclass(slots=True)
class LagBed:
    """`chosen` has the names of the module's tests that will run (see support.Together)."""

    kafka: Kafka
    source: KafkaLagSource
    chosen: frozenset[str]

    async def topic(
        self,
        label: str,
        partitions: int = 1,
        *,
        configs: Mapping[str, str] | None = None,
        replication: int = 1,
    ) -> str:
        """A topic of a new name."""
        name = f"{label}-{secrets.token_hex(2)}"
        topic = kafka_admin.Topic(name, partitions, replication, configs or {})
        await kafka_admin.create_topics(self.kafka.bootstrap, [topic])
        return name

    async def produce(self, topic: str, *per_partition: int) -> None:
        """So many records to partition 0, 1, …"""
        counts = {partition: count for partition, count in enumerate(per_partition) if count}
        await kafka_admin.produce_now(self.kafka.bootstrap, topic, counts)

    async def commit(self, group: str, topic: str, *per_partition: int) -> None:
        """As a consumer with manual assignment does: for partition 0, 1, …"""
        offsets = {TopicPartition(topic, p): offset for p, offset in enumerate(per_partition)}
        await kafka_admin.commit_offsets(self.kafka.bootstrap, group, offsets)

    def follow(
        self,
        group: str,
        *topics: str,
        reset: OffsetReset = OffsetReset.LATEST,
        level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> Subscription:
        """A reading each second."""
        return self.source.subscribe(
            GroupRequest(
                bootstrap_servers=tuple(self.kafka.bootstrap.split(",")),
                consumer_group=group,
                topics=topics,
                offset_reset=reset,
                isolation_level=level,
                interval_seconds=1,
            )
        )

    @asynccontextmanager
    async def member(self, group: str, *topics: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
        """A real consumer that is in the group and commits nothing by itself."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap,
            group_id=group,
            **{"enable_auto_commit": False, "auto_offset_reset": "earliest", "heartbeat_interval_ms": 300, **options},
        )
        consumer.subscribe(topics)
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()


async def until(subscription: Subscription, right: Callable[[GroupReading], bool], seconds: float = 30) -> GroupReading:
    """The first good reading that is right."""
    return (await history_until(subscription, right, seconds))[-1]


async def history_until(
    subscription: Subscription, right: Callable[[GroupReading], bool], seconds: float = 30
) -> list[GroupReading]:
    """All good readings up to the first that is right."""
    seen: list[Reading] = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                reading = await subscription.next()
                seen.append(reading)
                if isinstance(reading, GroupReading) and right(reading):
                    return [each for each in seen if isinstance(each, GroupReading)]
    except TimeoutError as error:
        raise AssertionError(f"the last of {seconds:g} s of readings: {seen[-1] if seen else None}") from error


async def refused(subscription: Subscription, reason: str, seconds: float = 30) -> Unavailable:
    """The first reading that fails for this reason."""
    reading: Reading | None = None
    try:
        async with asyncio.timeout(seconds):
            while not isinstance(reading, Unavailable) or reading.reason != reason:
                reading = await subscription.next()
    except TimeoutError as error:
        raise AssertionError(f"the last of {seconds:g} s of readings: {reading}") from error
    return reading


async def readings(subscription: Subscription, count: int) -> list[GroupReading]:
    """The next so many, which must be good."""
    found = []
    for _ in range(count):
        reading = await subscription.next()
        assert isinstance(reading, GroupReading), reading
        found.append(reading)
    return found


def lags(reading: GroupReading) -> list[int | None]:
    return [partition.lag_messages for partition in reading.partitions]
