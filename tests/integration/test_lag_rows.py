"""The traps of reading a group's lag, each made on a real broker: offsets, topics and what becomes of them.

The cases run at the same time on one broker whose housekeeping (retention, compaction, expiry of commits) is fast.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.addresses import ON_THIS_MACHINE
from tests.integration.lag_bed import LagBed, history_until, lags, readings, refused, until
from tests.integration.support import Together

from bed import kafka_admin
from bed.kafka import Kafka
from consumer_autoscaler.decision.advance import advance
from consumer_autoscaler.decision.decide import decide
from consumer_autoscaler.decision.history import History
from consumer_autoscaler.decision.reasons import DecisionReason, SourceReason
from consumer_autoscaler.decision.values import GroupReading, Observation, OffsetReset, Policy, Scale, Unavailable
from consumer_autoscaler.sources.kafka import reading, topology
from consumer_autoscaler.sources.kafka.lag import verdict
from consumer_autoscaler.sources.kafka.reader import KafkaLagSource

pytestmark = pytest.mark.integration
together = Together()

PROMISE = Policy(min_replicas=0, max_replicas=20, max_delay_seconds=60, poll_interval_seconds=1)
BY_LAG = Policy(min_replicas=0, max_replicas=20, lag_per_replica=1, poll_interval_seconds=1)


@pytest.fixture(scope="module")
def brokers() -> Iterator[Kafka]:
    """One broker that cleans up after itself at once."""
    settings = {
        "log.cleaner.backoff.ms": "200",
        "log.initial.task.delay.ms": "200",
        "log.retention.check.interval.ms": "300",
        "log.segment.delete.delay.ms": "100",
        "offsets.retention.minutes": "1",
        "offsets.retention.check.interval.ms": "1000",
    }
    with Kafka(settings=settings) as kafka:
        yield kafka


@pytest.fixture(scope="module")
async def bed(request: pytest.FixtureRequest, brokers: Kafka) -> AsyncIterator[LagBed]:
    """The cluster, and a source that looks at metadata and starts every second and waits briefly in doubt."""
    chosen = frozenset(item.name for item in request.session.items if item.path == request.path)
    source = KafkaLagSource(time.time, policy=ON_THIS_MACHINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topology, "METADATA_MAX_AGE_SECONDS", 1.0)
        patch.setattr(topology, "MISSING_AGAIN_SECONDS", 1.0)
        patch.setattr(reading, "_STARTS_MAX_AGE_SECONDS", 1.0)
        patch.setattr(verdict, "VANISHED_SECONDS", 4.0)
        yield LagBed(brokers, source, chosen)
        await source.aclose()


def decided(policy: Policy, group: GroupReading | Unavailable, replicas: int) -> tuple[int | None, DecisionReason]:
    """The decision of an operator that has watched for ten minutes."""
    now = time.time()
    observation = Observation(at=now, group=group, scale=Scale(replicas=replicas, ready=replicas))
    history = advance(policy, History(began_at=now - 600, active_at=now - 600), observation, now)
    decision = decide(policy, observation, history, now)
    return decision.desired, decision.reason


@together
async def test_a_group_that_never_committed_gets_one_consumer_and_no_more(bed: LagBed) -> None:
    """Under Latest it starts from zero, and its partitions without records never ask for more."""
    topic = await bed.topic("fresh", 12)
    await bed.produce(topic, 5)
    seen = await until(bed.follow(topic, topic), lambda r: r.never_committed)
    assert lags(seen) == [0] * 12
    assert decided(PROMISE, seen, 0) == (1, DecisionReason.SCALE_FROM_ZERO)
    assert decided(BY_LAG, seen, 1)[0] == 1
    earliest = await until(bed.follow(topic, topic, reset=OffsetReset.EARLIEST), lambda r: True)
    assert lags(earliest) == [5] + [0] * 11
    assert decided(BY_LAG, earliest, 0)[0] == 1


@together
async def test_a_topic_made_anew_is_not_measured_by_its_old_commits(bed: LagBed) -> None:
    """Between the deletion and the first commit on the new topic the lag is right or unknown."""
    topic, other = await bed.topic("anew", 2), await bed.topic("other")  # which keeps the group alive
    await bed.produce(topic, 50, 50)
    await bed.commit(topic, topic, 40, 40)
    await bed.commit(topic, other, 0)
    subscription = bed.follow(topic, topic, other)
    assert (await until(subscription, lambda r: True)).lag_messages == 20
    await kafka_admin.delete_topics(bed.kafka.bootstrap, [topic])
    await kafka_admin.create_topics(bed.kafka.bootstrap, [kafka_admin.Topic(topic, 2)])
    await bed.produce(topic, 3, 60)
    seen = await history_until(subscription, lambda r: r.partitions[1].committed_offset is None)
    assert {(r.partitions[0].end_offset, r.lag_messages) for r in seen} <= {(50, 20), (3, 0)}
    await bed.commit(topic, topic, 1, 1)
    assert lags(await until(subscription, lambda r: r.partitions[1].committed_offset == 1)) == [2, 59, 0]


@together
async def test_a_commit_beyond_the_end_is_an_event_as_long_as_it_lasts(bed: LagBed) -> None:
    """It counts as none, and the reading warns until the consumer has reset."""
    topic = await bed.topic("beyond")
    await bed.produce(topic, 5)
    await bed.commit(topic, topic, 900)
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    seen = await until(subscription, lambda r: True)
    assert (lags(seen), seen.warning) == ([5], SourceReason.OFFSET_BEYOND_END)
    assert f"{topic}-0" in seen.note
    await bed.commit(topic, topic, 5)
    assert (await until(subscription, lambda r: r.lag_messages == 0)).warning is None


@together
async def test_what_retention_took_is_lost_and_no_lag(bed: LagBed) -> None:
    """Every reading counts what is there; what the group had not read is said to be lost."""
    configs = {"segment.ms": "300", "retention.ms": "2500"}
    topic = await bed.topic("overtaken", configs=configs)
    await bed.produce(topic, 60)
    await bed.commit(topic, topic, 10)
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    await until(subscription, lambda r: True)
    await bed.produce(topic, 40)
    seen = await history_until(subscription, lambda r: r.lost_messages == 90)
    for each in seen:
        (partition,) = each.partitions
        assert partition.start_offset is not None
        assert partition.lag_messages == partition.end_offset - max(10, partition.start_offset)
        assert each.lost_messages == max(0, partition.start_offset - 10)
        assert (each.warning is SourceReason.MESSAGES_LOST) == bool(each.lost_messages)
    assert (seen[-1].lag_messages, f"{topic}-0 (90)" in seen[-1].note) == (0, True)


@together
async def test_retention_that_comes_near_is_said_before_it_overtakes(bed: LagBed) -> None:
    """When the start has moved by more than the room that is left."""
    topic = await bed.topic("near")
    await bed.produce(topic, 100)
    await bed.commit(topic, topic, 30)
    subscription = bed.follow(topic, topic)
    assert (await until(subscription, lambda r: True)).warning is None
    await kafka_admin.delete_records(bed.kafka.bootstrap, {TopicPartition(topic, 0): 20})
    seen = await until(subscription, lambda r: r.warning is SourceReason.RETENTION_NEAR)
    assert (seen.lag_messages, seen.lost_messages) == (70, 0)
    await bed.commit(topic, topic, 100)
    await until(subscription, lambda r: r.warning is None)


@together
async def test_a_deleted_topic_of_the_group_is_left_out_and_said(bed: LagBed) -> None:
    """As long as another is there; a group without any is not found."""
    kept, gone = await bed.topic("kept"), await bed.topic("gone")
    await bed.produce(kept, 7)
    await bed.produce(gone, 9)
    await bed.commit(kept, kept, 0)
    await bed.commit(kept, gone, 0)
    async with bed.member(kept, kept, gone):
        subscription = bed.follow(kept)
        await until(subscription, lambda r: r.lag_messages == 16)
    await kafka_admin.delete_topics(bed.kafka.bootstrap, [gone])
    seen = await until(subscription, lambda r: len(r.partitions) == 1)
    assert (lags(seen), gone in seen.note) == ([7], True)
    await kafka_admin.delete_topics(bed.kafka.bootstrap, [kept])
    await refused(subscription, SourceReason.TOPIC_NOT_FOUND)


@together
async def test_new_partitions_are_pending_until_a_member_has_them(bed: LagBed) -> None:
    """The ceiling rises at once; what waits in them is shown under Latest too, and is no lag yet."""
    topic = await bed.topic("grows", 2)
    await bed.produce(topic, 5, 5)
    await bed.commit(topic, topic, 5, 5)
    subscription = bed.follow(topic, topic)
    async with bed.member(topic, topic, metadata_max_age_ms=9_000):
        await until(subscription, lambda r: r.members == 1)
        await kafka_admin.add_partitions(bed.kafka.bootstrap, topic, 4)
        await bed.produce(topic, 0, 0, 0, 9)
        seen = await until(subscription, lambda r: r.pending_messages > 0)
        assert (seen.pending_messages, lags(seen), seen.partition_ceiling) == (9, [0, 0, 0, 0], 4)
        assert f"{topic}-3 (9)" in seen.note
        assert decided(PROMISE, seen, 1)[0] == 1  # there is work: not to zero
        assert (await until(subscription, lambda r: r.pending_messages == 0)).partition_ceiling == 4


@together
async def test_an_empty_group_that_lost_its_commits_gets_one_consumer(bed: LagBed) -> None:
    """Commits end with the broker's retention of offsets; its lag is then unknown, and somebody must commit anew."""
    topic = await bed.topic("expires")
    await bed.produce(topic, 5)
    async with bed.member(topic, topic) as member:
        await member.commit({TopicPartition(topic, 0): 2})
    subscription = bed.follow(topic, topic)
    seen = await until(subscription, lambda r: r.members == 0)
    assert (seen.lag_messages, decided(PROMISE, seen, 0)[0]) == (3, 1)
    missing = await refused(subscription, SourceReason.GROUP_NOT_FOUND, seconds=100)
    assert decided(PROMISE, missing, 0) == (1, DecisionReason.SCALE_FROM_ZERO)
    assert decided(PROMISE, missing, 3) == (3, DecisionReason.HOLD_LAG_UNKNOWN)


async def _transactions(producer: AIOKafkaProducer, topic: str, partitions: int, *, abort: bool = False) -> None:
    await producer.begin_transaction()
    for partition in range(partitions):
        for _ in range(3):
            await producer.send_and_wait(topic, b"x", partition=partition)
    await (producer.abort_transaction() if abort else producer.commit_transaction())


async def _commit_last_records(member: AIOKafkaConsumer, topic: str, ends: list[int]) -> None:
    """As most frameworks do: the offset after the last record, which is that of the marker."""
    await member.commit({TopicPartition(topic, p): end - 1 for p, end in enumerate(ends)})


@together
async def test_a_transactions_marker_is_no_lag_once_two_were_skipped(bed: LagBed) -> None:
    """One short of the end at rest, twice: then zero, in other partitions of the topic too, and for the empty group."""
    topic = await bed.topic("markers", 2)
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    producer = AIOKafkaProducer(bootstrap_servers=bed.kafka.bootstrap, transactional_id=topic)
    await producer.start()
    try:
        async with bed.member(topic, topic) as member:
            await _transactions(producer, topic, 1)
            await _commit_last_records(member, topic, [4])
            await until(subscription, lambda r: r.members == 1 and lags(r) == [1, 0])
            assert [r.lag_messages for r in await readings(subscription, 4)] == [1] * 4  # it could be a record
            await _transactions(producer, topic, 2)
            assert lags(await until(subscription, lambda r: r.lag_messages > 2)) == [5, 4]
            await _commit_last_records(member, topic, [8, 4])
            seen = await until(subscription, lambda r: r.lag_messages == 0)
            assert f"{topic}-0" in seen.note
            assert [p.end_offset - (p.committed_offset or 0) for p in seen.partitions] == [1, 1]
            await _transactions(producer, topic, 1, abort=True)
            assert lags(await until(subscription, lambda r: r.lag_messages > 0)) == [5, 0]
            await _commit_last_records(member, topic, [12, 4])
            await until(subscription, lambda r: r.lag_messages == 0)
        seen = await until(subscription, lambda r: r.members == 0)
        assert seen.lag_messages == 0
        assert decided(PROMISE, seen, 0)[0] == 0
    finally:
        await producer.stop()


@together
async def test_a_single_record_that_waits_is_never_hidden(bed: LagBed) -> None:
    """However long a live group stands before it, and each time that it does."""
    topic = await bed.topic("single")
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    async with bed.member(topic, topic) as member:
        for end in (1, 2, 3):
            await bed.produce(topic, 1)
            await member.commit({TopicPartition(topic, 0): end - 1})
            await until(subscription, lambda r, end=end: r.partitions[0].end_offset == end and r.members == 1)  # type: ignore[misc]
            assert [r.lag_messages for r in await readings(subscription, 4)] == [1] * 4
            await member.commit({TopicPartition(topic, 0): end})
            await until(subscription, lambda r: r.lag_messages == 0)


@together
async def test_gaps_of_compaction_are_consumed_at_the_rate_at_which_they_arrived(bed: LagBed) -> None:
    """Lag counts offsets, so it counts gaps; a consumer skips them, and both rates are in offsets."""
    configs = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    topic = await bed.topic("compacted", configs={**configs, "max.compaction.lag.ms": "200"})
    subscription = bed.follow(topic, topic, reset=OffsetReset.EARLIEST)
    policy, history = PROMISE, History()

    def note(group: GroupReading) -> None:
        nonlocal history
        observation = Observation(at=group.at, group=group, scale=Scale(replicas=1, ready=1))
        history = advance(policy, history, observation, group.at)

    async with bed.member(topic, topic) as member:
        await member.commit({TopicPartition(topic, 0): 0})
        for each in await history_until(subscription, lambda r: r.members == 1 and not r.never_committed):
            note(each)
        async with AIOKafkaProducer(bootstrap_servers=bed.kafka.bootstrap) as producer:
            for _ in range(5):
                last = [await producer.send(topic, b"x", key=b"one key") for _ in range(200)]
                await asyncio.gather(*last)
                await asyncio.sleep(0.3)
            await producer.send_and_wait(topic, b"x", key=b"another")
        await _until_compacted(bed, topic)
        for each in await history_until(subscription, lambda r: r.lag_messages == 1001):
            note(each)
        await member.seek_to_beginning()
        records = 0
        while (fetched := await member.getmany(timeout_ms=2_000)) or not records:
            records += sum(map(len, fetched.values()))
        assert 0 < records < 900  # there were gaps
        await member.commit()
        for each in await history_until(subscription, lambda r: r.lag_messages == 0):
            note(each)
    assert history.samples[-1].arrived == history.samples[-1].consumed == 1001


async def _until_compacted(bed: LagBed, topic: str) -> None:
    """Until a reader from the beginning gets fewer records than were written."""
    for _ in range(40):
        async with AIOKafkaConsumer(
            topic, bootstrap_servers=bed.kafka.bootstrap, auto_offset_reset="earliest"
        ) as reader:
            fetched = await reader.getmany(timeout_ms=1_500, max_records=2_000)
            if sum(map(len, fetched.values())) < 900:
                return
        await asyncio.sleep(0.5)
    raise AssertionError("the broker does not compact")
