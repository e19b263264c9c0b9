"""What a reading makes of a share group whose coordinator fails, forgets and changes its mind."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.protocol.types import Schema
from tests.addresses import ON_THIS_MACHINE
from tests.unit.kafka_fake import DESCRIBE_REQUEST, FETCH_REQUEST, TAGS, FakeBroker
from tests.unit.test_kafka_kinds import SHARE, share_offsets_schema

from consumer_autoscaler.decision.reasons import SourceReason
from consumer_autoscaler.decision.values import GroupKind, GroupReading, OffsetReset, Unavailable
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.protocol import GroupRequest, Subscription

SHARE_DESCRIBE, SHARE_OFFSETS = 77, 90
MEMBER = ("m", None, 1, "c", "h", ["orders"], ([(bytes(16), "orders", [0, 1], {})], {}), {})


class ShareBroker(FakeBroker):
    """With a share group `g` on `orders`; `positions` are (start offset, lag) by partition."""

    def __init__(self) -> None:
        super().__init__()
        self.versions |= {SHARE_DESCRIBE: (1, 1), SHARE_OFFSETS: (0, 1)}
        self.ends["orders"] = [10, 20]
        self.positions = {0: (4, 3), 1: (20, 0)}
        self.is_there = True
        self.partition_error = 0
        offsets = Schema(("groups", FETCH_REQUEST.fields[0]), TAGS)
        self.more = {
            SHARE_DESCRIBE: (DESCRIBE_REQUEST, SHARE, self._describe_share),
            SHARE_OFFSETS: (offsets, share_offsets_schema(1), self._share_offsets),
        }

    def _describe_share(self, request: Any, error: int) -> Any:
        error = error or (0 if self.is_there else 69)
        return 0, [(error, None, g, "Stable", 1, 1, "simple", [MEMBER], 0, {}) for g in request[0]], {}

    def _share_offsets(self, request: Any, error: int) -> Any:
        groups = []
        for group, topics, _ in request[0]:
            answered = [
                (
                    topic,
                    bytes(16),
                    [
                        (p, *self.positions.get(p, (-1, -1))[:1], 0, self.positions.get(p, (-1, -1))[1],
                         self.partition_error if p == 1 else 0, None, {})
                        for p in partitions
                    ],
                    {},
                )
                for topic, partitions, _ in (topics or [("orders", [0, 1], {})])
            ]  # fmt: skip
            groups.append((group, [] if error else answered, error, None, {}))
        return 0, groups, {}


@pytest.fixture
async def broker() -> AsyncIterator[ShareBroker]:
    async with ShareBroker() as broker:
        yield broker


@pytest.fixture
async def source() -> AsyncIterator[KafkaLagSource]:
    source = KafkaLagSource(time.time, request_timeout_seconds=1, policy=ON_THIS_MACHINE)
    yield source
    await source.aclose()


def subscribe(
    source: KafkaLagSource, broker: ShareBroker, *topics: str, reset: OffsetReset = OffsetReset.LATEST
) -> Subscription:
    return source.subscribe(
        GroupRequest(
            bootstrap_servers=(broker.address,),
            consumer_group="g",
            topics=topics,
            offset_reset=reset,
            interval_seconds=0.2,
        )
    )


async def valid(subscription: Subscription) -> GroupReading:
    reading = await subscription.next()
    assert isinstance(reading, GroupReading), reading
    return reading


async def refused(subscription: Subscription) -> Unavailable:
    reading = await subscription.next()
    assert isinstance(reading, Unavailable), reading
    return reading


async def test_a_share_group_is_found_and_read_in_the_first_reading(
    broker: ShareBroker, source: KafkaLagSource
) -> None:
    """Nobody says of what kind it is; the second reading asks only what it needs."""
    subscription = subscribe(source, broker)
    reading = await valid(subscription)
    assert reading.kind is GroupKind.SHARE
    assert [p.lag_messages for p in reading.partitions] == [3, 0]
    broker.log.clear()
    await valid(subscription)
    assert sorted(broker.asked()) == [2, SHARE_DESCRIBE, SHARE_OFFSETS]


async def test_a_state_that_goes_is_not_believed_at_once(broker: ShareBroker, source: KafkaLagSource) -> None:
    """A coordinator that cannot read the state of a partition says -1 without an error: unknown, which is not zero."""
    subscription = subscribe(source, broker)
    assert (await valid(subscription)).lag_messages == 3
    broker.positions = {1: (20, 0)}
    assert (await refused(subscription)).reason is SourceReason.PARTIAL_READING
    broker.positions[0] = (4, 2)
    assert (await valid(subscription)).lag_messages == 2


@pytest.mark.parametrize(
    ("code", "reason"), [(6, SourceReason.PARTIAL_READING), (29, SourceReason.AUTHORIZATION_FAILED)]
)
async def test_an_error_of_one_partition_makes_no_sum_of_the_others(
    broker: ShareBroker, source: KafkaLagSource, code: int, reason: SourceReason
) -> None:
    """The broker could not ask that partition's leader for its end, or the right on its topic is missing."""
    broker.partition_error = code
    assert (await refused(subscribe(source, broker, "orders"))).reason is reason


@pytest.mark.parametrize("key", [SHARE_DESCRIBE, SHARE_OFFSETS])
async def test_a_coordinator_that_loads_gives_no_reading(broker: ShareBroker, source: KafkaLagSource, key: int) -> None:
    """Error 14 of either request; with the next tick all is well."""
    subscription = subscribe(source, broker)
    await valid(subscription)
    broker.always[key] = 14
    assert (await refused(subscription)).reason is SourceReason.PARTIAL_READING
    broker.always.clear()
    assert (await valid(subscription)).lag_messages == 3


async def test_a_missing_right_on_a_member_s_topic_is_named(broker: ShareBroker, source: KafkaLagSource) -> None:
    """The describe request refuses the whole group then."""
    broker.always[SHARE_DESCRIBE] = 29
    refusal = await refused(subscribe(source, broker, "orders"))
    assert refusal.reason is SourceReason.AUTHORIZATION_FAILED
    assert "group g" in refusal.message


async def test_a_group_becomes_a_classic_one_and_a_share_group_again_between_two_readings(
    broker: ShareBroker, source: KafkaLagSource
) -> None:
    """Each is read rightly in the very reading that finds the other kind."""
    subscription = subscribe(source, broker, "orders")
    assert (await valid(subscription)).kind is GroupKind.SHARE
    broker.is_there = False
    broker.states["g"], broker.commits["g"] = "Empty", {"orders": {0: 9, 1: 18}}
    reading = await valid(subscription)
    assert (reading.kind, [p.lag_messages for p in reading.partitions]) == (GroupKind.CLASSIC, [1, 2])
    broker.is_there = True
    del broker.states["g"], broker.commits["g"]
    reading = await valid(subscription)
    assert (reading.kind, [p.lag_messages for p in reading.partitions]) == (GroupKind.SHARE, [3, 0])


@pytest.mark.parametrize(("reset", "lag"), [(OffsetReset.EARLIEST, 30), (OffsetReset.LATEST, 0), (OffsetReset.NONE, 0)])
async def test_a_share_group_that_never_acknowledged(
    broker: ShareBroker, source: KafkaLagSource, reset: OffsetReset, lag: int
) -> None:
    """Its partitions have no state: the declared reset says what that means, and under None it is not known."""
    broker.positions = {}
    reading = await valid(subscribe(source, broker, "orders", reset=reset))
    assert reading.never_committed
    assert reading.lag_messages == lag
    assert all((p.lag_messages is None) == (reset is OffsetReset.NONE) for p in reading.partitions)
