"""What a reading makes of brokers that fail, refuse, move and talk nonsense."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from tests.addresses import ON_THIS_MACHINE
from tests.unit.kafka_fake import FakeBroker

from consumer_autoscaler.decision.reasons import GroupState, SourceReason
from consumer_autoscaler.decision.values import GroupReading, OffsetReset, Unavailable
from consumer_autoscaler.sources.kafka import topology
from consumer_autoscaler.sources.kafka.lag import verdict
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource
from consumer_autoscaler.sources.kafka.wire.requests import FIND_COORDINATOR, LIST_OFFSETS, METADATA, OFFSET_FETCH
from consumer_autoscaler.sources.protocol import GroupRequest, LagSource

DESCRIBE = 15


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    """A broker with one topic of three partitions and an empty group that has committed on two of them."""
    async with FakeBroker() as broker:
        broker.ends["orders"] = [10, 20, 30]
        broker.commits["g"] = {"orders": {0: 4, 1: 20}}
        broker.states["g"] = "Empty"
        yield broker


@pytest.fixture
async def source() -> AsyncIterator[KafkaLagSource]:
    source = KafkaLagSource(time.time, request_timeout_seconds=1, policy=ON_THIS_MACHINE)
    yield source
    await source.aclose()


def request(broker: FakeBroker, *topics: str, group: str = "g", interval: float = 0.2) -> GroupRequest:
    return GroupRequest(
        bootstrap_servers=(broker.address,),
        consumer_group=group,
        topics=topics,
        offset_reset=OffsetReset.EARLIEST,
        interval_seconds=interval,
    )


async def once(source: KafkaLagSource, wanted: GroupRequest) -> GroupReading | Unavailable:
    subscription = source.subscribe(wanted)
    try:
        return await subscription.next()
    finally:
        subscription.close()


async def refused(source: KafkaLagSource, wanted: GroupRequest) -> Unavailable:
    reading = await once(source, wanted)
    assert isinstance(reading, Unavailable), reading
    return reading


async def valid(source: KafkaLagSource, wanted: GroupRequest) -> GroupReading:
    reading = await once(source, wanted)
    assert isinstance(reading, GroupReading), reading
    return reading


async def test_the_source_keeps_the_contract_of_a_lag_source(source: KafkaLagSource) -> None:
    """It can stand wherever a LagSource is asked for."""
    contract: LagSource = source
    assert contract is source


async def test_commits_are_read_before_ends(broker: FakeBroker, source: KafkaLagSource) -> None:
    """So a lag errs upwards by what was produced in between, and is never negative."""
    reading = await valid(source, request(broker, "orders"))
    assert [p.lag_messages for p in reading.partitions] == [6, 0, 30]
    ends = [i for i, (key, asked) in enumerate(broker.log) if key == LIST_OFFSETS and asked[2][0][1][0][2] == -1]
    commits = [i for i, (key, _) in enumerate(broker.log) if key == OFFSET_FETCH]
    assert max(commits) < min(ends)


async def test_a_coordinator_that_lags_behind_its_log_is_asked_for_the_end_of_it(
    broker: FakeBroker, source: KafkaLagSource
) -> None:
    """Commits that were there and are not shown any more are asked for by a stable read before they are given up."""
    subscription = source.subscribe(request(broker, "orders"))
    assert isinstance(await subscription.next(), GroupReading)
    assert not any(asked[1] for key, asked in broker.log if key == OFFSET_FETCH)
    broker.stale.add("g")
    seen = [await subscription.next() for _ in range(4)]
    subscription.close()
    lags = [each.lag_messages if isinstance(each, GroupReading) else each.reason for each in seen]
    assert set(lags) <= {36, SourceReason.PARTIAL_READING}
    assert lags[-1] == 36


async def test_metadata_never_asks_for_a_topic_to_be_created(broker: FakeBroker, source: KafkaLagSource) -> None:
    """Every metadata request names its topics and forbids their creation."""
    await refused(source, request(broker, "not-there"))
    asked = [request for key, request in broker.log if key == METADATA]
    assert asked
    assert all(topics is not None and create is False for topics, create, *_ in asked)


@pytest.mark.parametrize(("key", "code"), [(OFFSET_FETCH, 30), (FIND_COORDINATOR, 30), (DESCRIBE, 30), (69, 30)])
async def test_a_missing_right_on_the_group_is_named(
    broker: FakeBroker, source: KafkaLagSource, key: int, code: int
) -> None:
    """Whichever request it fails on."""
    broker.always[key] = code
    reading = await refused(source, request(broker, "orders"))
    assert reading.reason is SourceReason.AUTHORIZATION_FAILED
    assert "Describe on group g" in reading.message


@pytest.mark.parametrize("key", [METADATA, LIST_OFFSETS, OFFSET_FETCH])
async def test_a_missing_right_on_a_topic_is_named(broker: FakeBroker, source: KafkaLagSource, key: int) -> None:
    """It is not read as a topic without commits."""
    if key == LIST_OFFSETS:
        broker.always[key] = 29
    else:
        await valid(source, request(broker, "orders"))
        broker.topic_errors["orders"] = 29
    reading = await refused(source, request(broker, "orders"))
    assert reading.reason is SourceReason.AUTHORIZATION_FAILED
    assert "Describe on topic orders" in reading.message


@pytest.mark.parametrize("key", [OFFSET_FETCH, DESCRIBE])
async def test_a_moved_coordinator_is_found_again_within_the_reading(
    broker: FakeBroker, source: KafkaLagSource, key: int
) -> None:
    """NOT_COORDINATOR costs one more look-up, not a reading."""
    broker.once[key] = [16]
    assert (await valid(source, request(broker, "orders"))).lag_messages == 36
    assert broker.asked().count(FIND_COORDINATOR) == 2


@pytest.mark.parametrize("code", [5, 6, 9, 56, 74, 75, 78])
async def test_a_moved_leader_is_asked_again_and_never_left_out_of_the_sum(
    broker: FakeBroker, source: KafkaLagSource, code: int
) -> None:
    """Once costs a second look; for good, the group is not read at all."""
    broker.once[LIST_OFFSETS] = [0, code]  # the start offsets go first
    assert (await valid(source, request(broker, "orders"))).lag_messages == 36
    broker.always[LIST_OFFSETS] = code
    reading = await refused(source, request(broker, "orders"))
    assert reading.reason is SourceReason.PARTIAL_READING
    assert "orders-2" in reading.message


async def test_a_loading_coordinator_is_not_an_empty_group(broker: FakeBroker, source: KafkaLagSource) -> None:
    """While the broker reads its offsets topic, nothing is said about commits."""
    broker.always[OFFSET_FETCH] = 14
    reading = await refused(source, request(broker, "orders"))
    assert reading.reason is SourceReason.PARTIAL_READING
    assert "loading" in reading.message


async def test_a_commit_beyond_the_end_is_looked_at_twice(broker: FakeBroker, source: KafkaLagSource) -> None:
    """One that is gone at the second look leaves no trace; one that stays counts as none, with a note."""
    broker.commits["g"]["orders"][2] = 99

    def heal(key: int, body: bytes) -> bytes:
        if broker.asked().count(OFFSET_FETCH) >= 2:
            broker.ends["orders"] = [10, 20, 100]
        return body

    broker.spoil = heal
    reading = await valid(source, request(broker, "orders"))
    assert (reading.partitions[2].lag_messages, reading.note) == (1, "")
    broker.commits["g"]["orders"][2] = 500
    reading = await valid(source, request(broker, "orders"))
    assert reading.partitions[2].lag_messages == 100
    assert "orders-2" in reading.note


async def test_commits_that_vanish_are_waited_for(
    broker: FakeBroker, source: KafkaLagSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator in trouble that shows a group without its commits is not believed at once; later it is."""
    monkeypatch.setattr(verdict, "VANISHED_SECONDS", 1.0)
    subscription = source.subscribe(request(broker, "orders"))
    assert isinstance(await subscription.next(), GroupReading)
    broker.commits["g"] = {"orders": {0: 4}}
    began = time.monotonic()
    async with asyncio.timeout(5):
        while time.monotonic() - began < 0.8:
            reading = await subscription.next()
        assert isinstance(reading, Unavailable)
        assert "orders-1" in reading.message
        while not isinstance(reading, GroupReading):
            reading = await subscription.next()
    assert [p.lag_messages for p in reading.partitions] == [6, 20, 30]


async def test_a_group_that_vanishes_is_waited_for_and_then_held(
    broker: FakeBroker, source: KafkaLagSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a coordinator that does not know its groups yet; it never becomes a lag of 0."""
    monkeypatch.setattr(verdict, "GONE_SECONDS", 0.5)
    subscription = source.subscribe(request(broker, "orders"))
    assert isinstance(await subscription.next(), GroupReading)
    commits, broker.commits, broker.states = broker.commits, {}, {}
    reasons = []
    for _ in range(6):
        reading = await subscription.next()
        assert isinstance(reading, Unavailable)
        reasons.append(reading.reason)
    assert reasons[0] is SourceReason.PARTIAL_READING
    assert reasons[-1] is SourceReason.GROUP_NOT_FOUND
    broker.commits = commits
    async with asyncio.timeout(5):
        while not isinstance(await subscription.next(), GroupReading):
            pass


@pytest.mark.parametrize("key", [METADATA, FIND_COORDINATOR, OFFSET_FETCH, LIST_OFFSETS, DESCRIBE, 69])
@pytest.mark.parametrize("keep", [0, 9, -6])
async def test_an_answer_that_ends_early_is_unavailable_and_the_next_is_good(
    broker: FakeBroker, source: KafkaLagSource, key: int, keep: int
) -> None:
    """Nonsense from one request is neither a number nor the end of the reader."""
    broker.spoil = lambda asked, body: body[:keep] if asked == key else body
    subscription = source.subscribe(request(broker, "orders"))
    assert isinstance(await subscription.next(), Unavailable)
    broker.spoil = lambda asked, body: body
    async with asyncio.timeout(5):
        while not isinstance(reading := await subscription.next(), GroupReading):
            pass
    assert reading.lag_messages == 36
    assert reading.state is GroupState.EMPTY


async def test_a_broken_connection_is_made_again(broker: FakeBroker, source: KafkaLagSource) -> None:
    """A broker that hangs up costs a reading at most."""
    subscription = source.subscribe(request(broker, "orders"))
    assert isinstance(await subscription.next(), GroupReading)
    broker.spoil = lambda key, body: None
    async with asyncio.timeout(5):
        while not isinstance(reading := await subscription.next(), Unavailable):
            pass
        assert reading.reason is SourceReason.BROKER_UNREACHABLE
        broker.spoil = lambda key, body: body
        while not isinstance(await subscription.next(), GroupReading):
            pass


async def test_a_cluster_that_moved_is_found_through_its_bootstrap_addresses(source: KafkaLagSource) -> None:
    """When no known broker answers, the addresses of the resource are asked again."""
    async with FakeBroker() as old, FakeBroker() as new:
        for broker in (old, new):
            broker.ends["orders"] = [10]
            broker.commits["g"] = {"orders": {0: 4}}
            broker.states["g"] = "Empty"
        new.versions = {}  # it does not serve yet
        subscription = source.subscribe(
            GroupRequest(
                bootstrap_servers=(old.address, new.address),
                consumer_group="g",
                topics=("orders",),
                interval_seconds=0.2,
            )
        )
        assert isinstance(await subscription.next(), GroupReading)
        await old.stop()
        new.versions = dict(FakeBroker().versions)
        async with asyncio.timeout(5):
            while not (isinstance(await subscription.next(), GroupReading) and LIST_OFFSETS in new.asked()):
                pass


async def test_a_new_group_of_a_cluster_that_moved_is_read_at_once(source: KafkaLagSource) -> None:
    """It needs a coordinator, which no known broker can name any more; the bootstrap addresses lead on."""
    async with FakeBroker() as old, FakeBroker() as new:
        for broker in (old, new):
            broker.ends["orders"] = [10]
        new.versions = {}
        both = (old.address, new.address)

        def wanted(group: str) -> GroupRequest:
            return GroupRequest(bootstrap_servers=both, consumer_group=group, topics=("orders",), interval_seconds=60)

        first = source.subscribe(wanted("first"))
        assert isinstance(await first.next(), GroupReading)
        await old.stop()
        new.versions = dict(FakeBroker().versions)
        assert isinstance(await source.subscribe(wanted("second")).next(), GroupReading)


async def test_a_broker_that_is_too_old_is_said_to_be(broker: FakeBroker, source: KafkaLagSource) -> None:
    """Without the batched requests there is no reading, and the message names the version needed."""
    broker.versions[OFFSET_FETCH] = (1, 7)
    reading = await refused(source, request(broker, "orders"))
    assert "Kafka 3.0" in reading.message


async def test_a_broker_without_the_new_group_protocol_is_read_all_the_same(
    broker: FakeBroker, source: KafkaLagSource
) -> None:
    """ConsumerGroupDescribe exists since 3.7 only."""
    del broker.versions[69]
    assert (await valid(source, request(broker, "orders"))).state is GroupState.EMPTY


async def test_a_group_is_asked_for_by_its_own_kind_only_once_that_is_known(
    broker: FakeBroker, source: KafkaLagSource
) -> None:
    """One describe a reading, not two."""
    subscription = source.subscribe(request(broker, "orders"))
    for _ in range(4):
        await subscription.next()
    assert broker.asked().count(69) == 1
    assert broker.asked().count(DESCRIBE) >= 4


async def test_a_slow_caller_gets_the_newest_reading(broker: FakeBroker, source: KafkaLagSource) -> None:
    """Readings that nobody fetched are replaced, never queued."""
    subscription = source.subscribe(request(broker, "orders"))
    await subscription.next()
    await asyncio.sleep(0.7)
    broker.ends["orders"] = [1000, 20, 30]
    stale = await subscription.next()
    fresh = await subscription.next()
    assert isinstance(stale, GroupReading)
    assert isinstance(fresh, GroupReading)
    assert (stale.lag_messages, fresh.lag_messages) == (36, 996 + 30)


async def test_resources_of_one_cluster_and_interval_share_each_reading(
    broker: FakeBroker, source: KafkaLagSource
) -> None:
    """The number of requests does not grow with the number of subscriptions."""
    subscriptions = [source.subscribe(request(broker, "orders", interval=0.4)) for _ in range(50)]
    await asyncio.gather(*(s.next() for s in subscriptions))
    before = len(broker.asked())
    await asyncio.gather(*(s.next() for s in subscriptions))
    assert len(broker.asked()) - before == 3
    assert source.stats.clusters == source.stats.connections == 1


async def test_the_last_to_leave_closes_the_connection_and_all_tasks_end(
    broker: FakeBroker, source: KafkaLagSource
) -> None:
    """Nothing is left of a cluster that nobody reads."""
    before = asyncio.all_tasks()
    first, second = source.subscribe(request(broker)), source.subscribe(request(broker, interval=1))
    await asyncio.gather(first.next(), second.next())
    first.close()
    assert source.stats.clusters == 1
    second.close()
    assert source.stats.clusters == 0
    async with asyncio.timeout(2):
        await asyncio.wait([task for task in asyncio.all_tasks() - before if "_serve" not in repr(task)])


async def test_closing_the_source_wakes_those_who_wait(broker: FakeBroker) -> None:
    """A subscription that waits gets a value that says so, and the source takes no more."""
    source = KafkaLagSource(time.time, request_timeout_seconds=1, policy=ON_THIS_MACHINE)
    subscription = source.subscribe(request(broker, "orders", interval=60))
    await subscription.next()
    waiting = asyncio.create_task(subscription.next())
    await asyncio.sleep(0.05)
    await source.aclose()
    assert await waiting == Unavailable(SourceReason.NOT_READ_YET, "the reading of this group has ended")
    with pytest.raises(RuntimeError):
        source.subscribe(request(broker))


async def test_a_reading_that_looks_at_the_metadata_again_takes_no_more_requests(
    broker: FakeBroker, source: KafkaLagSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves out the descriptions of one coordinator's groups, which are one reading old, and reads all else."""
    subscription = source.subscribe(request(broker, "orders", interval=0.5))
    for _ in range(2):
        await subscription.next()
    monkeypatch.setattr(topology, "METADATA_MAX_AGE_SECONDS", 1.2)
    taken = []
    for _ in range(6):
        before = len(broker.asked())
        reading = await subscription.next()
        assert isinstance(reading, GroupReading)
        assert (reading.lag_messages, reading.state) == (36, GroupState.EMPTY)
        taken.append(sorted(broker.asked()[before:]))
    assert {tuple(each) for each in taken} == {
        (LIST_OFFSETS, OFFSET_FETCH, DESCRIBE),
        (LIST_OFFSETS, METADATA, OFFSET_FETCH),
    }
