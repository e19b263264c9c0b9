"""Reading consumer groups from three real brokers, with real consumers as members."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from tests.addresses import ON_THIS_MACHINE

from bed import kafka_admin
from bed.kafka import Kafka
from consumer_autoscaler.decision.reasons import GroupState, SourceReason
from consumer_autoscaler.decision.values import GroupReading, OffsetReset, Unavailable
from consumer_autoscaler.sources.kafka import topology
from consumer_autoscaler.sources.kafka.brokers import Brokers
from consumer_autoscaler.sources.kafka.lag.verdict import Watch
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.kafka.reading import ClusterReader
from consumer_autoscaler.sources.kafka.stats import ReadingStats
from consumer_autoscaler.sources.kafka.wire.codec import NO_TAGS, NULL, array, string
from consumer_autoscaler.sources.kafka.wire.requests import REQUEST_NAMES, Request
from consumer_autoscaler.sources.protocol import GroupRequest, Subscription

pytestmark = pytest.mark.integration

_REQUEST_TIMEOUT_SECONDS = 2.0


@pytest.fixture(scope="module")
def brokers() -> Iterator[Kafka]:
    """Three brokers of this file's own: it kills them."""
    with Kafka(brokers=3) as kafka:
        yield kafka


@pytest.fixture
async def source() -> AsyncIterator[KafkaLagSource]:
    source = KafkaLagSource(time.time, request_timeout_seconds=_REQUEST_TIMEOUT_SECONDS, policy=ON_THIS_MACHINE)
    yield source
    await source.aclose()


def connections(brokers: Kafka) -> Brokers:
    servers = brokers.bootstrap.split(",")
    return Brokers(servers, client_id="t", timeout_seconds=5, stats=ReadingStats(), policy=ON_THIS_MACHINE)


def request(brokers: Kafka, group: str, *topics: str, reset: OffsetReset = OffsetReset.LATEST) -> GroupRequest:
    return GroupRequest(
        bootstrap_servers=tuple(brokers.bootstrap.split(",")),
        consumer_group=group,
        topics=topics,
        offset_reset=reset,
        interval_seconds=1,
    )


async def read_once(source: KafkaLagSource, wanted: GroupRequest) -> GroupReading | Unavailable:
    subscription = source.subscribe(wanted)
    try:
        return await subscription.next()
    finally:
        subscription.close()


async def valid(source: KafkaLagSource, wanted: GroupRequest) -> GroupReading:
    reading = await read_once(source, wanted)
    assert isinstance(reading, GroupReading), reading
    return reading


async def until(
    subscription: Subscription, right: Callable[[GroupReading | Unavailable], bool], *, seconds: float = 15
) -> GroupReading | Unavailable:
    """The first reading that is right."""
    reading: GroupReading | Unavailable | None = None
    try:
        async with asyncio.timeout(seconds):
            while reading is None or not right(reading):
                reading = await subscription.next()
    except TimeoutError:
        pytest.fail(f"the last of {seconds:g} s of readings: {reading}")
    return reading


def lags(reading: GroupReading) -> list[int | None]:
    return [partition.lag_messages for partition in reading.partitions]


async def topic(brokers: Kafka, name: str, partitions: int, records: dict[int, int], *, replication: int = 1) -> str:
    await kafka_admin.create_topics(brokers.bootstrap, [kafka_admin.Topic(name, partitions, replication)])
    if records:
        await kafka_admin.produce_now(brokers.bootstrap, name, records)
    return name


async def commit(brokers: Kafka, group: str, name: str, offsets: dict[int, int]) -> None:
    await kafka_admin.commit_offsets(
        brokers.bootstrap, group, {TopicPartition(name, p): offset for p, offset in offsets.items()}
    )


async def delete_records(brokers: Kafka, name: str, before: dict[int, int]) -> None:
    """Moves start offsets up, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(name, p): RecordsToDelete(offset) for p, offset in before.items()})
    finally:
        await admin.close()


@asynccontextmanager
async def member(
    brokers: Kafka,
    group: str,
    *topics: str,
    assignors: tuple[type, ...] | None = None,
    listener: ConsumerRebalanceListener | None = None,
) -> AsyncIterator[AIOKafkaConsumer]:
    """A real consumer that is in the group and commits nothing by itself."""
    options = {} if assignors is None else {"partition_assignment_strategy": assignors}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=brokers.bootstrap,
        group_id=group,
        enable_auto_commit=False,
        heartbeat_interval_ms=300,
        **options,
    )
    consumer.subscribe(topics, listener=listener)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        (OffsetReset.LATEST, [6, 0, 0]),
        (OffsetReset.EARLIEST, [6, 15, 0]),
        (OffsetReset.NONE, [6, None, None]),
    ],
)
async def test_a_partition_without_a_commit_counts_by_the_offset_reset(
    brokers: Kafka, source: KafkaLagSource, reset: OffsetReset, expected: list[int | None]
) -> None:
    """Uncommitted is 0 under Latest, what is there to be read under Earliest, and unknown under None."""
    name = await topic(brokers, f"uncommitted-{reset.value}", 3, {0: 10, 1: 20})
    await delete_records(brokers, name, {1: 5})
    await commit(brokers, f"g-{name}", name, {0: 4})
    reading = await valid(source, request(brokers, f"g-{name}", name, reset=reset))
    assert lags(reading) == expected
    assert not reading.never_committed


@pytest.mark.parametrize(
    ("reset", "expected"), [(OffsetReset.LATEST, 0), (OffsetReset.EARLIEST, 12), (OffsetReset.NONE, None)]
)
async def test_a_commit_before_the_start_counts_what_the_consumer_will_read(
    brokers: Kafka, source: KafkaLagSource, reset: OffsetReset, expected: int | None
) -> None:
    """When retention has overtaken the group, the offset reset says where it reads on."""
    name = await topic(brokers, f"overtaken-{reset.value}", 1, {0: 20})
    await commit(brokers, f"g-{name}", name, {0: 3})
    await delete_records(brokers, name, {0: 8})
    reading = await valid(source, request(brokers, f"g-{name}", name, reset=reset))
    assert lags(reading) == [expected]


async def test_a_commit_beyond_the_end_counts_as_none_and_is_said(brokers: Kafka, source: KafkaLagSource) -> None:
    """A lag is never negative and never silently cut: the note names the partition."""
    name = await topic(brokers, "beyond", 1, {0: 5})
    await commit(brokers, "g-beyond", name, {0: 900})
    reading = await valid(source, request(brokers, "g-beyond", name, reset=OffsetReset.EARLIEST))
    assert lags(reading) == [5]
    assert reading.partitions[0].committed_offset == 900
    assert "beyond-0" in reading.note


async def test_a_group_without_members_is_read_from_its_commits(brokers: Kafka, source: KafkaLagSource) -> None:
    """An Empty group's lag is valid, over the topics it committed, up to the largest topic's consumers."""
    await topic(brokers, "empty-a", 2, {0: 10, 1: 10})
    await topic(brokers, "empty-b", 3, {0: 10})
    await commit(brokers, "g-empty", "empty-a", {0: 1, 1: 2})
    await commit(brokers, "g-empty", "empty-b", {0: 3})
    reading = await valid(source, request(brokers, "g-empty"))
    assert (reading.state, reading.members, reading.lag_messages) == (GroupState.EMPTY, 0, 9 + 8 + 7)
    assert (reading.assignor, reading.partition_ceiling) == (None, 3)


async def test_a_group_that_never_was_can_be_read_when_its_topics_are_named(
    brokers: Kafka, source: KafkaLagSource
) -> None:
    """A fresh group must be startable; without topics there is nothing to read."""
    name = await topic(brokers, "fresh", 2, {0: 4})
    reading = await valid(source, request(brokers, "g-fresh", name, reset=OffsetReset.EARLIEST))
    assert (reading.state, reading.never_committed, reading.lag_messages) == (GroupState.DEAD, True, 4)
    refused = await read_once(source, request(brokers, "g-fresh"))
    assert isinstance(refused, Unavailable)
    assert refused.reason is SourceReason.GROUP_NOT_FOUND


async def test_members_give_topics_assignor_idle_members_and_ceiling(brokers: Kafka, source: KafkaLagSource) -> None:
    """Of a stable group: the topics its members subscribe to, who has nothing to do, and how many can work."""
    first = await topic(brokers, "members-a", 2, {0: 5})
    second = await topic(brokers, "members-b", 1, {0: 5})
    subscription = source.subscribe(request(brokers, "g-members", reset=OffsetReset.EARLIEST))
    other = source.subscribe(request(brokers, "g-range"))
    async with (
        member(brokers, "g-members", first, second),
        member(brokers, "g-members", first, second),
        member(brokers, "g-members", first, second),
        member(brokers, "g-members", first, second),
        member(brokers, "g-range", first, second, assignors=(RangePartitionAssignor,)) as ranged,
    ):
        reading = await until(
            subscription,
            lambda r: isinstance(r, GroupReading) and r.state is GroupState.STABLE and r.members == 4,
        )
        assert isinstance(reading, GroupReading)
        assert (reading.idle_members, reading.assignor, reading.partition_ceiling) == (1, "roundrobin", 3)
        assert reading.lag_messages == 10
        await ranged.commit({TopicPartition(first, 0): 1})
        reading = await until(other, lambda r: isinstance(r, GroupReading) and r.state is GroupState.STABLE)
        assert isinstance(reading, GroupReading)
        assert (reading.idle_members, reading.assignor, reading.partition_ceiling) == (0, "range", 2)
    reading = await until(other, lambda r: isinstance(r, GroupReading) and r.state is GroupState.EMPTY)
    assert isinstance(reading, GroupReading)
    assert (reading.assignor, reading.partition_ceiling, len(reading.partitions)) == ("range", 2, 3)


class _Held(ConsumerRebalanceListener):
    """Keeps its group in a rebalance until it is let go."""

    def __init__(self) -> None:
        self.holding = False
        self.go = asyncio.Event()

    async def on_partitions_revoked(self, revoked: object) -> None:
        if self.holding:
            await self.go.wait()

    async def on_partitions_assigned(self, assigned: object) -> None:
        pass


async def test_a_rebalancing_group_is_read_and_says_so(brokers: Kafka, source: KafkaLagSource) -> None:
    """While members join, the lag stays valid and nobody is called idle; the topics last seen count on."""
    name = await topic(brokers, "rebalance", 2, {0: 7})
    subscription = source.subscribe(request(brokers, "g-rebalance", reset=OffsetReset.EARLIEST))
    held = _Held()
    async with member(brokers, "g-rebalance", name, listener=held):
        await until(subscription, lambda r: isinstance(r, GroupReading) and r.state is GroupState.STABLE)
        held.holding = True
        joining = AIOKafkaConsumer(name, bootstrap_servers=brokers.bootstrap, group_id="g-rebalance")
        start = asyncio.create_task(joining.start())
        reading = await until(subscription, lambda r: isinstance(r, GroupReading) and r.state.rebalancing)
        assert isinstance(reading, GroupReading)
        assert (reading.lag_messages, reading.idle_members, reading.members) == (7, 0, 2)
        held.go.set()
        await start
        await joining.stop()


class _HeartbeatV0(Request):
    """ConsumerGroupHeartbeat: how a consumer of the new protocol joins (member epoch 0)."""

    def __init__(self, group: str, topics: list[str]) -> None:
        REQUEST_NAMES.setdefault(68, "ConsumerGroupHeartbeat")  # type: ignore[attr-defined]
        body = string(group) + string("member-1") + bytes(4) + NULL + NULL + (300_000).to_bytes(4, "big")
        super().__init__(68, (1,), body + array(map(string, topics)) + NULL + NULL + array([]) + NO_TAGS)


async def test_a_group_of_the_new_consumer_protocol_is_not_taken_for_dead(
    brokers: Kafka, source: KafkaLagSource
) -> None:
    """A KIP-848 group is Dead to the classic request; it is read by its own, with its members and assignor."""
    name = await topic(brokers, "new-protocol", 4, {0: 3})
    servers = connections(brokers)
    reader = ClusterReader(servers, clock=time.time, timeout_seconds=10)
    watch = Watch("g-new-protocol", (), OffsetReset.EARLIEST)
    try:
        await servers.ask_metadata([])
        known = topology.Topology(servers)
        await known.ensure_coordinators(["g-new-protocol"])
        ((node, _),) = known.by_coordinator(["g-new-protocol"])
        await servers.ask(node, _HeartbeatV0("g-new-protocol", [name]))
        reading = (await reader.read([watch]))[watch]
        assert isinstance(reading, GroupReading), reading
        assert reading.members == 1
        assert reading.state in (GroupState.STABLE, GroupState.RECONCILING, GroupState.ASSIGNING)
        assert (reading.assignor, reading.partition_ceiling, reading.lag_messages) == ("uniform", 4, 3)
    finally:
        await servers.aclose()


async def test_added_partitions_are_read_after_the_next_metadata(
    brokers: Kafka, source: KafkaLagSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a topic grows, its new partitions count and the ceiling rises, without a partial sum in between."""
    monkeypatch.setattr(topology, "METADATA_MAX_AGE_SECONDS", 2.0)
    name = await topic(brokers, "grows", 2, {0: 5, 1: 5})
    await commit(brokers, "g-grows", name, {0: 0, 1: 0})
    subscription = source.subscribe(request(brokers, "g-grows", name, reset=OffsetReset.EARLIEST))
    assert lags(await valid(source, request(brokers, "g-grows", name))) == [5, 5]
    await kafka_admin.add_partitions(brokers.bootstrap, name, 4)
    await kafka_admin.produce_now(brokers.bootstrap, name, {3: 9})
    reading = await until(subscription, lambda r: isinstance(r, GroupReading) and r.partition_ceiling == 4)
    assert isinstance(reading, GroupReading)
    assert lags(reading) == [5, 5, 0, 9]


async def test_a_missing_topic_is_said_and_never_created(
    brokers: Kafka, source: KafkaLagSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First in doubt, then not found, and the question itself must not create it, though the broker would."""
    monkeypatch.setattr(topology, "MISSING_AGAIN_SECONDS", 1.0)
    subscription = source.subscribe(request(brokers, "g-missing", "not-there"))
    first = await subscription.next()
    assert isinstance(first, Unavailable)
    assert first.reason is SourceReason.PARTIAL_READING
    reading = await until(
        subscription, lambda r: isinstance(r, Unavailable) and r.reason is SourceReason.TOPIC_NOT_FOUND
    )
    assert isinstance(reading, Unavailable)
    assert "not-there" in reading.message
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap)
    await admin.start()
    try:
        assert "not-there" not in await admin.list_topics()
    finally:
        await admin.close()
    await topic(brokers, "not-there", 1, {0: 3})
    reading = await until(subscription, lambda r: isinstance(r, GroupReading))
    assert isinstance(reading, GroupReading)
    assert reading.never_committed


async def test_a_deleted_group_is_held_until_it_commits_again(brokers: Kafka, source: KafkaLagSource) -> None:
    """The commits of a group that was deleted with a backlog are not read as a lag of 0."""
    name = await topic(brokers, "deleted", 1, {0: 50})
    await commit(brokers, "g-deleted", name, {0: 10})
    subscription = source.subscribe(request(brokers, "g-deleted", name))
    first = await subscription.next()
    assert isinstance(first, GroupReading)
    assert first.lag_messages == 40
    await kafka_admin.delete_groups(brokers.bootstrap, ["g-deleted"])
    held = await until(subscription, lambda r: isinstance(r, Unavailable))
    assert isinstance(held, Unavailable)
    assert held.reason is SourceReason.PARTIAL_READING
    await until(subscription, lambda r: isinstance(r, Unavailable) and r.reason is not held.reason)
    for _ in range(2):
        reading = await subscription.next()
        assert isinstance(reading, Unavailable)
        assert reading.reason is SourceReason.GROUP_NOT_FOUND
    await commit(brokers, "g-deleted", name, {0: 20})
    back = await until(subscription, lambda r: isinstance(r, GroupReading))
    assert isinstance(back, GroupReading)
    assert back.lag_messages == 30


async def test_an_unreachable_cluster_does_not_disturb_another(brokers: Kafka, source: KafkaLagSource) -> None:
    """A name that does not resolve and an address that is silent fail in time, by name; others keep their pace."""
    name = await topic(brokers, "neighbour", 1, {0: 2})
    silent = socket.create_server(("127.0.0.1", 0))  # the kernel accepts, nobody reads
    port = silent.getsockname()[1]
    bad = [
        source.subscribe(GroupRequest(bootstrap_servers=(at,), consumer_group="g", interval_seconds=1))
        for at in ("nowhere.invalid:9092", f"127.0.0.1:{port}")
    ]
    good = source.subscribe(request(brokers, "g-neighbour", name))
    arrivals = []
    began = time.monotonic()
    refused = asyncio.gather(*(subscription.next() for subscription in bad))
    for _ in range(4):
        assert isinstance(await good.next(), GroupReading)
        arrivals.append(time.monotonic())
    assert arrivals[0] - began < 1.0
    assert max(later - earlier for earlier, later in pairwise(arrivals)) < 1.5
    unresolved, unanswered = await refused
    assert isinstance(unresolved, Unavailable)
    assert isinstance(unanswered, Unavailable)
    assert unresolved.reason is unanswered.reason is SourceReason.BROKER_UNREACHABLE
    assert "nowhere.invalid:9092" in unresolved.message
    assert f"127.0.0.1:{port}" in unanswered.message
    silent.close()


async def test_a_thousand_subscriptions_are_served_at_once_from_a_few_readings(
    brokers: Kafka, source: KafkaLagSource
) -> None:
    """At the start of an operator with 1,000 resources nobody waits for a tick or for a place in a queue."""
    name = await topic(brokers, "crowd", 10, {})
    began = time.monotonic()
    subscriptions = [source.subscribe(request(brokers, f"crowd-{i}", name)) for i in range(1000)]
    readings = await asyncio.gather(*(subscription.next() for subscription in subscriptions))
    assert time.monotonic() - began < 3.0
    assert all(isinstance(reading, GroupReading) for reading in readings)
    assert source.stats.batches <= 3
    assert source.stats.connections <= 3


async def test_one_group_can_be_read_again_before_the_next_tick(brokers: Kafka, source: KafkaLagSource) -> None:
    """That group alone, once, and the ticks go on; who leaves is not read any more."""
    name = await topic(brokers, "again", 2, {0: 3})
    wanted = replace(request(brokers, "again", name), interval_seconds=60)
    first, second = source.subscribe(wanted), source.subscribe(replace(wanted, consumer_group="again-not"))
    await asyncio.gather(first.next(), second.next())
    readings = source.stats.readings
    first.look_again(0.2)
    began = time.monotonic()
    async with asyncio.timeout(10):
        reading = await first.next()
    assert isinstance(reading, GroupReading)
    assert 0.2 <= time.monotonic() - began < 5
    assert source.stats.readings == readings + 1
    first.look_again(0.2)
    first.close()
    await asyncio.sleep(0.5)
    assert source.stats.readings == readings + 1


async def test_requests_per_reading_depend_on_the_brokers_alone(brokers: Kafka) -> None:
    """1, 50 and 500 groups on 3 brokers take 5, 9 and 9 requests, as the brokers themselves count them."""
    name = await topic(brokers, "counted", 6, {})
    groups = [f"counted-{i}" for i in range(500)]
    offsets = {TopicPartition(name, partition): 0 for partition in range(6)}
    parts = [groups[i::4] for i in range(4)]
    await asyncio.gather(*(kafka_admin.commit_many(brokers.bootstrap, dict.fromkeys(part, offsets)) for part in parts))
    servers = connections(brokers)
    reader = ClusterReader(servers, clock=time.time, timeout_seconds=10)
    watches = [Watch(group, (name,) if i % 2 else (), OffsetReset.EARLIEST) for i, group in enumerate(groups)]
    kinds = ("ListOffsets", "OffsetFetch", "DescribeGroups", "ConsumerGroupDescribe", "Metadata", "FindCoordinator")
    try:
        await reader.read(watches)  # the first also finds topics, coordinators, kinds and start offsets
        before = await asyncio.to_thread(brokers.request_counts)
        for count, expected in ((1, 5), (50, 9), (500, 9)):
            for _ in range(4):
                readings = await reader.read(watches[:count])
                assert all(isinstance(reading, GroupReading) for reading in readings.values())
            after = await asyncio.to_thread(brokers.counts)
            took = {kind: after.requests.get(kind, 0) - before.get(kind, 0) for kind in kinds}
            assert sum(took.values()) == 4 * expected, took
            assert (took["ListOffsets"], took["Metadata"], took["FindCoordinator"]) == (12, 0, 0)
            before = dict(after.requests)
        assert servers.connections == 3
    finally:
        await servers.aclose()


async def test_a_killed_broker_gives_no_wrong_lag_and_readings_recover(brokers: Kafka, source: KafkaLagSource) -> None:
    """Leaders and coordinators move; each reading is right or says that it is none; all come back."""
    name = await topic(brokers, "killed", 6, dict.fromkeys(range(6), 10), replication=3)
    groups = [f"killed-{i}" for i in range(12)]
    offsets = {TopicPartition(name, partition): partition for partition in range(6)}
    await kafka_admin.commit_many(brokers.bootstrap, dict.fromkeys(groups, offsets))
    subscriptions = [source.subscribe(request(brokers, group, name)) for group in groups]
    seen: list[list[GroupReading | Unavailable]] = [[] for _ in groups]

    async def follow(index: int) -> None:
        while True:
            seen[index].append(await subscriptions[index].next())

    followers = [asyncio.create_task(follow(i)) for i in range(len(groups))]

    def right(reading: GroupReading | Unavailable) -> bool:
        return isinstance(reading, GroupReading) and reading.lag_messages == 60 - 15

    async def all_right(seconds: float) -> None:
        marks = [len(each) for each in seen]
        for _ in range(int(seconds * 10)):
            if all(len(each) > mark and right(each[-1]) for each, mark in zip(seen, marks, strict=True)):
                return
            await asyncio.sleep(0.1)
        pytest.fail(f"after {seconds:g} s: {[each[-1] for each in seen if not right(each[-1])]}")

    try:
        await all_right(5)
        brokers.stop_broker(1)
        await all_right(30)  # 3 s until the controllers fence it, then leaders and coordinators are elected
        brokers.start_broker(1)
        await asyncio.sleep(2)
        await all_right(5)
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.wait(followers)
    wrong = [r for each in seen for r in each if isinstance(r, GroupReading) and not right(r)]
    assert wrong == []
    reasons = {r.reason for each in seen for r in each if isinstance(r, Unavailable)}
    assert reasons <= {SourceReason.BROKER_UNREACHABLE, SourceReason.PARTIAL_READING}


async def test_a_silent_broker_costs_one_timeout_and_only_its_own_groups(
    brokers: Kafka, source: KafkaLagSource
) -> None:
    """A stopped broker with open sockets: after one timeout the others' groups are read at the usual pace."""
    name = await topic(brokers, "silent", 3, dict.fromkeys(range(3), 10))
    servers = connections(brokers)
    known = topology.Topology(servers)
    alone = [await topic(brokers, f"silent-{i}", 1, {0: 10}) for i in range(10)]
    groups = [f"silent-{i}" for i in range(20)]
    try:
        await known.ensure_topics(alone)
        await known.ensure_coordinators(groups)
        elsewhere = next(t.name for t in known.usable_topics() if t.leaders != (2,))
        group = next(names[0] for node, names in known.by_coordinator(groups) if node != 2)
    finally:
        await servers.aclose()
    hit = source.subscribe(request(brokers, group, name))
    spared = source.subscribe(request(brokers, group, elsewhere))
    assert isinstance(await hit.next(), GroupReading)
    assert isinstance(await spared.next(), GroupReading)
    brokers.pause(2)
    try:
        await until(hit, lambda r: isinstance(r, Unavailable))
        await spared.next()
        began = time.monotonic()
        for _ in range(4):
            reading, other = await asyncio.gather(spared.next(), hit.next())
            assert isinstance(reading, GroupReading)
            assert isinstance(other, Unavailable)
        assert time.monotonic() - began < 5.5
    finally:
        brokers.resume(2)
    await until(hit, lambda r: isinstance(r, GroupReading))
